"""Which rows a membership test is over: trained on, and not."""

import json
from dataclasses import replace
from pathlib import Path

from datasets import Dataset, concatenate_datasets

from ilora_app.export.places import STUMBLES, ReleaseError
from ilora_app.export.source import Source
from ilora_app.predict.predictor import Predictor
from ilora_app.settings import DataSettings, options
from ilora_app.settings.kinds import kind
from ilora_app.tasks import data, sources

_AT = "@"


def settings_of(
    predictor: Predictor, source: Source | None, column: str = ""
) -> DataSettings:
    """How rows were read when the model was trained, as far as that is known.

    Args:
        predictor: has the model.
        source: the run that it is of; None: an exported folder.
        column: with the class or the answer; empty: that of the run, else found.

    """
    if source is not None:
        found = replace(source.settings.data, packing=False)
        chosen = source.settings.model.task
    else:
        facts = predictor.facts
        found = DataSettings(
            prompt_template=facts.prompt_template, max_length=facts.max_length
        )
        chosen = facts.task
        file, read = kind(chosen).file, predictor.columns
        if file == "audio":
            found = replace(found, audio_column=read[0], max_seconds=facts.max_seconds)
        elif file:
            found = replace(found, image_column=read[0])
        texts = ",".join(read[1:] if file else read)
        found = replace(found, text_columns=texts or found.text_columns)
    if not column:
        return found
    if kind(chosen).writes:
        return replace(found, answer_column=column)
    return replace(found, label_column=column)


def named(
    settings: DataSettings, task: str, text: str, seed: int
) -> tuple[Dataset, DataSettings]:
    """Read the rows that a command names: DATA, or DATA@SPLIT.

    Returns:
        The rows, and the settings with their columns.

    Raises:
        DataError: they cannot be read.

    """
    place, split = _parts(text)
    asked = replace(
        settings,
        dataset=place,
        dataset_subset="",
        train_split=split or settings.train_split or "train",
        test_fraction=0.0,
    )
    found = data.resolve_own_columns if not split else data.resolve_columns
    asked = found(asked, task, seed)
    if split:
        return sources.split(asked, split, seed), asked
    return sources.only_split(asked, seed), asked


def _parts(text: str) -> tuple[str, str]:
    """DATA and SPLIT of DATA@SPLIT; a name that is there may have the sign in it."""
    place, at, split = text.rpartition(_AT)
    whole = not at or "/" in split or options.folder(text).exists()
    return (text, "") if whole else (place, split)


def of_run(source: Source) -> tuple[Dataset, Dataset]:
    """The rows that the nodes of a run trained on, and its test split.

    Raises:
        ReleaseError: nodes had data of their own.
        DataError: the data of the run cannot be read.

    """
    dealt = _dealt(source.run)
    if not dealt:
        raise ReleaseError(
            f"{source.run}: its nodes had data of their own, which are not here: "
            "expected --members and --non-members"
        )
    settings, seed = source.settings.data, source.settings.run.seed
    parts = [data.partition(settings, k, of, seed).train for k, of in dealt]
    return concatenate_datasets(parts), data.test_rows(settings, seed)


def _dealt(run: Path) -> list[tuple[int, int]]:
    """(partition, partitions) of the members; none where one has its own data."""
    found = set()
    try:
        text = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.split("\n"):
        try:
            event = json.loads(line)
            if event["event"] != "member":
                continue
            if event.get("partition") is None:
                return []
            found.add((int(event["partition"]), int(event["partitions"])))
        except STUMBLES:  # a crash leaves a line torn
            continue
    return sorted(found)
