"""What a settled data set is like: both splits, their overlap, and the deal."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer

from ilora_app.check.settle import Settled, Suggestion
from ilora_app.settings.kinds import kind
from ilora_app.tasks import (
    description,
    labelling,
    labels,
    models,
    partitions,
    sources,
)
from ilora_app.tasks.description import Description, Lengths
from ilora_app.tasks.sources import DataError

_MOST_CUT = 0.05
_STEP = 16
_POSITIONS = 512  # of a model that is not here


@dataclass(frozen=True)
class Share:
    """What the run would deal to one client: its rank, rows, and commonest classes."""

    client: int
    rank: int
    rows: int
    classes: tuple[tuple[str, int], ...]


class Look:
    """Looks at a data set that can be loaded.

    Args:
        settled: settings with the columns by name.

    """

    def __init__(self, settled: Settled) -> None:
        self._settings = settled.settings
        self._data, self._seed = self._settings.data, self._settings.run.seed
        self._task = self._settings.model.task

    def rows(self, name: str) -> Dataset:
        """Rows of a split."""
        return sources.split(self._data, name, self._seed)

    @cached_property
    def splits(self) -> dict[str, Description]:
        """Each split that the run reads, the training split first."""
        used = filter(None, (self._data.train_split, self._data.test_split))
        return {
            name: description.describe(
                self.rows(name), self._data, self._task, f"the split {name}"
            )
            for name in used
        }

    @property
    def columns(self) -> dict[str, str]:
        """What each column holds."""
        rows = self.rows(self._data.train_split or self._data.test_split)
        return {
            name: getattr(feature, "dtype", None) or type(feature).__name__
            for name, feature in rows.features.items()
        }

    @property
    def problems(self) -> list[str]:
        """What would end the run."""
        unreadable = [one.unreadable for one in self.splits.values() if one.unreadable]
        found = [*dict.fromkeys(unreadable)]  # what is not installed, once
        how = labelling.of_task(self._task)
        try:
            names = how.names(self._data, self._seed)
            for part in self.splits:
                if not kind(self._task).one_class:
                    where = f"the split {part}"
                    how.read(self.rows(part), self._data, names, where)
        except DataError as error:
            return [*found, str(error)]
        if few := labelling.too_few(names, self._data, self._task):
            found.append(few)
        return found

    @property
    def notes(self) -> list[str]:
        """What is worth to know: guesses, classes on one side, rows on both."""
        found = sources.notes(self._data, self._seed)
        train, test = self._data.train_split, self._data.test_split
        if not train:
            return found
        if kind(self._task).one_class and not self.problems:
            untested, untrained = labels.one_sided(self._data, self._seed)
            for names, split in ((untested, test), (untrained, train)):
                if names:
                    found.append(f"no row of the split {split} is of {_some(names)}")
        seen = set(description.inputs(self.rows(train), self._data, self._task))
        tested = description.inputs(self.rows(test), self._data, self._task)
        common = sum(key in seen for key in tested)
        if common:
            found.append(
                f"{common} of {len(tested)} test rows are trained on too: the test "
                "score is better than it should be"
            )
        return found

    def lengths(self) -> Lengths | None:
        """How long texts are, in tokens where the model is here, or recordings."""
        rows = self.rows(self._data.train_split or self._data.test_split)
        tokens = (
            _counter(self._settings.model.model) if kind(self._task).tokens else None
        )
        return description.lengths(rows, self._data, self._task, tokens)

    def deal(self, clients: int) -> list[Share]:
        """What the run would deal to each client, held-out rows included.

        Raises:
            DataError: the training split cannot be dealt out so.

        """
        data, seed, ranks = self._data, self._seed, self._settings.ranks
        parts = [partitions.load(data, i, clients, seed) for i in range(clients)]
        named = kind(self._task).has_names
        column = (data.label_column if named else "") or data.partition_by
        counts: list[list[int]] = [[] for _ in parts]
        names: list[str] = []
        if column:
            by = data if named else replace(data, label_column="")
            names, counts = partitions.class_counts(by, clients, seed)
        return [
            Share(
                number,
                ranks[number % len(ranks)],
                len(part),
                tuple(
                    sorted(
                        (pair for pair in zip(names, count, strict=True) if pair[1]),
                        key=lambda pair: -pair[1],
                    )
                    if count
                    else ()
                ),
            )
            for number, (part, count) in enumerate(zip(parts, counts, strict=True))
        ]

    def easier(self, clients: int) -> Suggestion | None:
        """A way to deal the rows out where the one asked for cannot."""
        data = self._data
        for easier, key, value in (
            (replace(data, min_partition_size=1), "min-partition-size", 1),
            (replace(data, partitioner="iid"), "partitioner", "iid"),
        ):
            try:
                partitions.load(easier, 0, clients, self._seed)
            except DataError:
                continue
            return Suggestion(key, value, "the rows cannot be dealt out as asked")
        return None


def fitting(lengths: Lengths | None, asked: int, longest: int) -> Suggestion | None:
    """A length that the model takes, and that leaves 95 of 100 inputs whole.

    Args:
        lengths: of the texts or recordings.
        asked: max-length.
        longest: tokens that the model has positions for; 0: not known, or no matter.

    """
    if 0 < longest < asked:
        return Suggestion("max-length", longest, f"the model has {longest} positions")
    if lengths is None or lengths.cut is None or lengths.cut <= _MOST_CUT:
        return None
    if lengths.unit == "seconds":
        why = f"{lengths.cut:.0%} of the recordings are longer than max-seconds"
        value = float(math.ceil(lengths.most))
        return Suggestion("max-seconds", value, f"{why}; longer ones take longer")
    value = min(-(-int(lengths.most) // _STEP) * _STEP, longest or _POSITIONS)
    why = f"{lengths.cut:.0%} of the texts are longer than max-length"
    return Suggestion("max-length", value, f"{why}; longer texts take longer")


def positions(model: str) -> int:
    """Tokens that a model on this machine takes; 0 where that is not known."""
    tokenizer, config = _read(AutoTokenizer, model), _read(AutoConfig, model)
    config = getattr(config, "text_config", None) or config
    held = int(getattr(config, "max_position_embeddings", 0) or 0)
    if "roberta" in str(getattr(config, "model_type", "")):
        held -= int(config.pad_token_id) + 1  # it counts from behind the padding index
    told = (int(getattr(tokenizer, "model_max_length", 0) or 0), held)
    return min((one for one in told if 0 < one < 10**6), default=0)


def _counter(model: str) -> description.Count | None:
    tokenizer = _read(AutoTokenizer, model)
    if tokenizer is None:
        return None

    def count(columns: list[list[str]]) -> list[int]:
        # A prompt of two columns has an answer too, which makes no pair.
        parts = [columns] if len(columns) <= 2 else [[column] for column in columns]
        total = [0] * len(columns[0])
        for part in parts:
            ids = tokenizer(*part, truncation=False, verbose=False)["input_ids"]
            total = [done + len(one) for done, one in zip(total, ids, strict=True)]
        return total

    return count


def _read(kind: Any, model: str) -> Any:
    """Tokenizer or config of a model on this machine; None where it is not here."""
    try:
        where, _ = models.locate(model)
        return kind.from_pretrained(
            where, local_files_only=True, trust_remote_code=False
        )
    except (models.ModelError, OSError, TypeError, ValueError):
        return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    noun = "the class" if len(names) == 1 else "the classes"
    return f"{noun} {', '.join(names[:5])}{more}"
