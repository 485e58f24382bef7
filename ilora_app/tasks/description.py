"""What rows of a data set are like, in numbers: for people, and without a model."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import kind
from ilora_app.settings.options import names
from ilora_app.tasks import files, label_lists, splits

MOST_ROWS = 20_000
"""So many rows are measured for their length at most."""

Count = Callable[[list[list[str]]], list[int]]
"""Texts by column -> the length of each row."""


@dataclass(frozen=True)
class Lengths:
    """How long the texts of rows are, or the recordings.

    Attributes:
        unit: tokens, words or seconds.
        median, most, longest: most are up to the second: 95 in 100.
        cut: part of the rows that ``max-length`` or ``max-seconds`` cuts; None where
            words are counted.

    """

    unit: str
    median: float
    most: float
    longest: float
    cut: float | None


@dataclass(frozen=True)
class Description:
    """What rows are like: counts, and the names of columns and classes alone.

    Attributes:
        rows: how many there are.
        classes: rows of each class, the commonest first.
        unlabelled: rows without a class.
        empty: rows without a value, by column that the task reads.
        repeated: rows whose input an earlier one has.
        unreadable: images or recordings that cannot be read, as one problem; empty
            where all can.

    """

    rows: int
    classes: tuple[tuple[str, int], ...]
    unlabelled: int
    empty: tuple[tuple[str, int], ...]
    repeated: int
    unreadable: str

    @property
    def majority(self) -> float:
        """Part of the labelled rows that are of the commonest class."""
        counts = [count for _, count in self.classes]
        return max(counts) / sum(counts) if counts else 0.0


def describe(
    rows: Dataset, settings: DataSettings, task: str, where: str
) -> Description:
    """Count what rows hold.

    Args:
        rows: of one split, or of a node.
        settings: with the columns by name.
        task: which columns are read.
        where: where the rows are, for messages.

    """
    read = names(settings.text_columns)
    if kind(task).writes and settings.answer_column:
        read += (settings.answer_column,)
    values = {name: rows[name] for name in read} if kind(task).tokens else {}
    empty = {name: sum(map(_is_blank, column)) for name, column in values.items()}
    unreadable = files.unreadable(rows, settings, task, where)
    classes: tuple[tuple[str, int], ...] = ()
    unlabelled = 0
    if kind(task).one_class:
        classes, unlabelled = _classes(rows, settings)
    elif kind(task).has_names:
        classes = _listed(rows, settings, task)
    elif not kind(task).writes:
        column = settings.label_column
        unlabelled = len(rows) - len(splits.labelled(rows, column))
    keys = inputs(rows, settings, task)
    return Description(
        rows=len(rows),
        classes=classes,
        unlabelled=unlabelled,
        empty=tuple((name, count) for name, count in empty.items() if count),
        repeated=len(keys) - len(set(keys)),
        unreadable=" ".join(unreadable),
    )


def inputs(rows: Dataset, settings: DataSettings, task: str) -> list[str]:
    """What tells the input of a row from that of others, case and spaces aside."""
    if kind(task).file:
        found = [_digest(one) for one in files.encoded(rows, settings, task)]
        said = texts(rows, settings) if kind(task).tokens else [""] * len(found)
        return [a + b.casefold() for a, b in zip(found, said, strict=True)]
    if kind(task).reads == "words":
        words = label_lists.values(rows, settings.text_columns, label_lists.words_in)
        return [" ".join(row).casefold() for row in words]
    return [" ".join(text.casefold().split()) for text in texts(rows, settings)]


def texts(rows: Dataset, settings: DataSettings) -> list[str]:
    """Texts of the rows, the columns of a row on lines of their own."""
    columns = [rows[name][:] for name in names(settings.text_columns)]
    return [
        "\n".join("" if part is None else str(part) for part in parts)
        for parts in zip(*columns, strict=True)
    ]


def lengths(
    rows: Dataset,
    settings: DataSettings,
    task: str,
    tokens: Count | None,
) -> Lengths | None:
    """Measure texts or recordings; None for images and where there are no rows.

    Args:
        rows: of one split.
        settings: with the columns by name, ``max-length`` and ``max-seconds``.
        task: which columns are read.
        tokens: counts tokens; None counts words.

    """
    if not len(rows) or kind(task).reads == "image":
        return None
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    if kind(task).file == "audio":
        return _seconds(files.encoded(rows, settings, task), settings.max_seconds)
    read = names(settings.text_columns)
    if kind(task).writes and settings.answer_column:
        read += (settings.answer_column,)
    columns = [["" if t is None else _plain(t) for t in rows[name]] for name in read]
    found = np.array((tokens or _words)(columns))
    median, most = np.percentile(found, [50, 95], method="higher")
    cut = float((found > settings.max_length).mean()) if tokens else None
    unit = "tokens" if tokens else "words"
    return Lengths(unit, int(median), int(most), int(found.max()), cut)


def _seconds(sounds: Sequence[dict[str, Any]], limit: float) -> Lengths | None:
    from ilora_app.tasks import audio

    all_ = (audio.duration(sound) for sound in sounds)
    found = np.array([length for length in all_ if length is not None])
    if not len(found):
        return None
    middle, most = np.percentile(found, [50, 95], method="higher")
    a, b, c = (round(float(one), 2) for one in (middle, most, found.max()))
    return Lengths("seconds", a, b, c, float((found > limit).mean()))


def _classes(
    rows: Dataset, settings: DataSettings
) -> tuple[tuple[tuple[str, int], ...], int]:
    column = settings.label_column
    feature = rows.features[column]
    kept = splits.labelled(rows, column)
    values = rows[column][:]
    counts = Counter(values[i] for i in kept)
    named = isinstance(feature, ClassLabel)
    classes = [
        (feature.names[value] if named else splits.class_name(value), count)
        for value, count in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    ordered = sorted(classes, key=lambda item: -item[1])
    return tuple(ordered), len(values) - len(kept)


def _listed(
    rows: Dataset, settings: DataSettings, task: str
) -> tuple[tuple[str, int], ...]:
    """How often each class, or tag, is there."""
    cut = (
        label_lists.words_in if kind(task).reads == "words" else label_lists.classes_in
    )
    values = label_lists.values(rows, settings.label_column, cut)
    return tuple(Counter(v for row in values for v in row).most_common())


def _plain(value: object) -> str:
    """A text, or words behind one another."""
    if not isinstance(value, list):
        return str(value)
    said = (one.get("content", "") if isinstance(one, dict) else one for one in value)
    return " ".join(map(str, said))


def _words(columns: Sequence[Sequence[str]]) -> list[int]:
    return [sum(len(t.split()) for t in row) for row in zip(*columns, strict=True)]


def _is_blank(value: object) -> bool:
    return value is None or not str(value).strip()


def _digest(image: dict[str, object] | None) -> str:
    image = image or {}
    content = image.get("bytes")
    path = str(image.get("path") or "")
    if not isinstance(content, bytes):
        content = Path(path).read_bytes() if Path(path).is_file() else path.encode()
    return hashlib.sha256(content).hexdigest()
