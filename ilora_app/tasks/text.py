"""Classes of texts, and numbers for them: rows of a data set -> batches of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import MULTI_LABEL, REGRESSION, TEXT
from ilora_app.settings.options import names
from ilora_app.tasks import cache, labelling
from ilora_app.tasks.examples import Batch, Examples, Scores
from ilora_app.tasks.metrics import IGNORED, ClassScores
from ilora_app.tasks.task_metrics import MultiLabelScores, NumberScores

if TYPE_CHECKING:
    from datasets import Dataset


_SCORES: dict[str, Callable[[], Scores]] = {
    TEXT: ClassScores,
    MULTI_LABEL: MultiLabelScores,
    REGRESSION: NumberScores,
}


@dataclass(frozen=True)
class TextExamples(Examples):
    """Tokenised texts in a fixed order, with what is to be said of each.

    Attributes:
        rows: tokens by key.
        labels: class ids, a number for each class, or a number.
        tokenizer: pads them.
        new_scores: starts adding up metrics.

    """

    rows: list[dict[str, list[int]]]
    labels: list[Any]
    tokenizer: PreTrainedTokenizerBase
    new_scores: Callable[[], Scores] = ClassScores

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pad the rows at ``indices`` to their longest: tensors of (batch, length)."""
        padded = self.tokenizer.pad(
            [self.rows[i] for i in indices], return_tensors="pt"
        )
        labels = torch.tensor([self.labels[i] for i in indices])
        return {**padded, "labels": labels}

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As the tokenizer pads."""
        return token_blanks(self.tokenizer)

    def order(self) -> list[int]:
        """The short ones first, so that little is padding."""
        return sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))

    def scores(self) -> Scores:
        """Loss, and the metrics of the task."""
        return self.new_scores()


def tokenise(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    where: str = "the data",
    task: str = TEXT,
) -> TextExamples:
    """Tokenise the text columns, cutting at ``max-length`` tokens.

    Raises:
        DataError: a row has no label of the kind that the task learns.

    """
    new_scores = _SCORES[task]
    if len(data) == 0:
        return TextExamples([], [], tokenizer, new_scores)
    columns = names(settings.text_columns)

    def encode() -> list[dict[str, list[int]]]:
        texts = [["" if t is None else str(t) for t in data[c][:]] for c in columns]
        encoded = tokenizer(*texts, truncation=True, max_length=settings.max_length)
        return [{key: encoded[key][i] for key in encoded} for i in range(len(data))]

    rows = cache.rows(data, tokenizer, (columns, settings.max_length), encode)
    found = labelling.of_task(task).read(data, settings, labels, where)
    return TextExamples(never_empty(rows, tokenizer), found, tokenizer, new_scores)


def joined(parts: Sequence[TextExamples]) -> TextExamples:
    """Put examples of one tokenizer behind one another."""
    return replace(
        parts[0],
        rows=[row for part in parts for row in part.rows],
        labels=[label for part in parts for label in part.labels],
    )


def never_empty(
    rows: list[dict[str, list[int]]], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, list[int]]]:
    """Give a row without tokens one: that of the end, else that which fills up.

    A blank text has none where the tokenizer adds none of its own, and a batch of
    blank texts alone would be nothing that a model can read.
    """
    known = (tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    token = next(one for one in known if one is not None)
    one = {"input_ids": token, "attention_mask": 1, "labels": IGNORED}
    return [
        row
        if row["input_ids"]
        else {key: value or [one.get(key, 0)] for key, value in row.items()}
        for row in rows
    ]


def token_blanks(tokenizer: PreTrainedTokenizerBase) -> dict[str, tuple[int, bool]]:
    """What a tokenizer fills up rows with, by key, and whether on the left."""
    left = tokenizer.padding_side == "left"
    tokens = int(tokenizer.pad_token_id)
    kinds = int(tokenizer.pad_token_type_id)
    return {
        "input_ids": (tokens, left),
        "token_type_ids": (kinds, left),
        "attention_mask": (0, left),
    }


def filled(
    rows: Sequence[Mapping[str, list[int]]], blanks: Mapping[str, tuple[int, bool]]
) -> Batch:
    """Fill rows up to the longest of each key: tensors of (rows, length)."""
    found = {}
    for key in rows[0]:
        value, left = blanks[key]
        longest = max(len(row[key]) for row in rows)
        whole = []
        for row in rows:
            missing = [value] * (longest - len(row[key]))
            whole.append(missing + row[key] if left else row[key] + missing)
        found[key] = torch.tensor(whole)
    return found
