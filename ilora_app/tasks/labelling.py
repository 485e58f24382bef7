"""What a label column means to each kind of task: names, and what a row is to give."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import kind
from ilora_app.tasks import label_lists, labels
from ilora_app.tasks.places import DataError

if TYPE_CHECKING:
    from datasets import Dataset

Names = tuple[str, ...]


class Labelling(Protocol):
    """Reads the label column of one kind of task."""

    least: int
    """So many names at least, or there is nothing to learn."""

    def names(self, settings: DataSettings, seed: int) -> Names:
        """Names in the order of their ids; none where there are none.

        Raises:
            DataError: the column holds something else.

        """

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        """What is to be given for each row.

        Raises:
            DataError: a row gives nothing, or a name that is not known.

        """


class _Nothing:
    """No label column is read."""

    least = 0

    def names(self, settings: DataSettings, seed: int) -> Names:
        return ()

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        return []


class _OneClass:
    """One class a row: its id."""

    least = 2

    def names(self, settings: DataSettings, seed: int) -> Names:
        return labels.label_names(settings, seed)

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        column = settings.label_column
        return labels.label_ids(rows[column][:], rows.features[column], names)


class _Classes:
    """Any number of classes a row: 1.0 for each that it has, else 0.0."""

    least = 1

    def names(self, settings: DataSettings, seed: int) -> Names:
        return label_lists.names_of(settings, seed, label_lists.classes_in)

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        column, cut = settings.label_column, label_lists.classes_in
        found = []
        for ids in label_lists.ids_of(rows, column, names, cut):
            row = [0.0] * len(names)
            for i in ids:
                row[i] = 1.0
            found.append(row)
        return found


class _Tags:
    """A tag for every word: their ids."""

    least = 2

    def names(self, settings: DataSettings, seed: int) -> Names:
        return label_lists.names_of(settings, seed, label_lists.words_in)

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        column, cut = settings.label_column, label_lists.words_in
        found = label_lists.ids_of(rows, column, names, cut)
        words = label_lists.values(rows, settings.text_columns, cut)
        for number, (tags, those) in enumerate(zip(found, words, strict=True)):
            if len(tags) != len(those):
                whole = (
                    f"label-column = {column!r}: row {number} of {where} has "
                    f"{len(tags)} tags for {len(those)} words; expected one for each"
                )
                raise DataError(whole, "label-column: expected a tag for each word")
        return found


class _Number:
    """A number a row."""

    least = 0

    def names(self, settings: DataSettings, seed: int) -> Names:
        return ()

    def read(
        self, rows: Dataset, settings: DataSettings, names: Names, where: str
    ) -> list[Any]:
        column = settings.label_column
        labels.unlabelled(rows, column, where)
        found = []
        for number, value in enumerate(rows[column][:]):
            try:
                found.append(float(value))
            except (TypeError, ValueError):
                found.append(math.nan)
            if not math.isfinite(found[-1]):
                raise DataError(
                    f"label-column = {column!r}: row {number} of {where} holds "
                    f"{value!r}; expected a number",
                    "label-column: expected numbers in its data",
                )
        return found


_BY_WHAT_IS_LEARNED: dict[str, Labelling] = {
    "class": _OneClass(),
    "classes": _Classes(),
    "tags": _Tags(),
    "number": _Number(),
    "answer": _Nothing(),
}


def of_task(task: str) -> Labelling:
    """How the label column of a task is read."""
    return _BY_WHAT_IS_LEARNED[kind(task).learns]


def names_of(settings: DataSettings, task: str, seed: int) -> Names:
    """Names of what a task learns, in the order of their ids.

    Raises:
        DataError: the column holds something other than the task learns.

    """
    return of_task(task).names(settings, seed)


def too_few(names: Names, settings: DataSettings, task: str) -> str:
    """Say that there are too few names to learn anything, where it is so."""
    if len(names) >= of_task(task).least:
        return ""
    right = {1: "one class", 2: "two classes"}[of_task(task).least]
    return (
        f"label-column = {settings.label_column!r}: expected {right} or more, found "
        f"only {', '.join(names) or 'none'}"
    )
