"""The classes of a data set: their names, and the ids of a column's values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ilora_app.settings import DataSettings
from ilora_app.tasks.sources import DataError, split
from ilora_app.tasks.splits import class_name, labelled, one_class

if TYPE_CHECKING:
    from datasets import Dataset

Labels = tuple[str, ...]


@cache
def label_names(settings: DataSettings, seed: int) -> Labels:
    """Names of the classes, in the order of their ids.

    From the schema where it has them; else the sorted values of both splits. None
    where ``label-column`` is empty.

    Raises:
        DataError: the column holds something other than text or whole numbers, or a
            row has no class, or a list of them.

    """
    if not settings.label_column:
        return ()
    both = {n: split(settings, n, seed) for n in _splits(settings)}
    for name, rows in both.items():
        one_class(rows, settings.label_column)
        unlabelled(rows, settings.label_column, f"the split {name}")
    from datasets import ClassLabel

    first = next(iter(both.values()))
    feature = first.features[settings.label_column]
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    values = {v for rows in both.values() for v in _unique(rows, settings.label_column)}
    if not all(isinstance(value, (str, int)) for value in values):
        raise DataError(
            f"label-column = {settings.label_column!r}: expected text or whole numbers",
            "label-column: expected text or whole numbers in its data",
        )
    texts = {value for value in values if isinstance(value, str)}
    # Numbers, or true and false, may be so in one split alone.
    mixed = len({type(value) for value in values}) > 1
    ordered = sorted(values, key=str if mixed else None)
    return tuple(dict.fromkeys(class_name(value, texts) for value in ordered))


def _unique(rows: Dataset, column: str) -> list[Any]:
    """Different values of a column.

    Raises:
        DataError: they are of several kinds, which a table has no type for.

    """
    from datasets import ClassLabel, Value

    if isinstance(rows.features[column], ClassLabel | Value):
        return list(rows.unique(column))
    found = {type(value).__name__: value for value in rows[column][:]}
    some = " and ".join(repr(value) for value in found.values())
    raise DataError(
        f"label-column = {column!r}: expected text or whole numbers, found both or "
        f"others, such as {some}; write all of them as text",
        "label-column: expected text or whole numbers in its data",
    )


def unlabelled(rows: Dataset, column: str, where: str) -> None:
    """Refuse rows without a class.

    Raises:
        DataError: some of them have none.

    """
    missing = len(rows) - len(labelled(rows, column))
    if missing:
        way_out = (
            "name a split that has them (GLUE's test splits have none, its validation "
            "splits do)"
            if missing == len(rows)
            else "drop-unlabelled = true leaves them out"
        )
        raise DataError(
            f"label-column = {column!r}: {missing} of {len(rows)} rows of {where} "
            f"carry no class; {way_out}",
            f"{missing} of its {len(rows)} rows carry no class",
        )


def one_sided(settings: DataSettings, seed: int) -> tuple[list[str], list[str]]:
    """Classes that no row of the test split has, and those that it alone has."""
    if not settings.label_column or not settings.train_split:
        return [], []
    train, test = (split(settings, n, seed) for n in _splits(settings))
    column, labels = settings.label_column, label_names(settings, seed)
    seen = [
        set(label_ids(rows.unique(column), rows.features[column], labels))
        for rows in (train, test)
    ]
    never_tested, never_trained = seen[0] - seen[1], seen[1] - seen[0]
    return (
        [labels[i] for i in sorted(never_tested)],
        [labels[i] for i in sorted(never_trained)],
    )


def label_ids(
    column: Sequence[str | int], feature: object, labels: Labels
) -> list[int]:
    """Ids of the values of a label column among the federation's classes.

    Raises:
        DataError: a value that is none of them.

    """
    from datasets import ClassLabel

    ids = {name: i for i, name in enumerate(labels)}
    if isinstance(feature, ClassLabel):
        # By name: a node's own schema may have its classes in another order.
        column = [feature.names[int(value)] for value in column]
    found = [class_name(value, ids) for value in column]
    strangers = sorted(set(found) - set(ids))
    if strangers:
        known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        raise DataError(
            f"the class {strangers[0]!r} is not one of the federation's: {known}",
            f"{len(strangers)} of the classes in its data are none of the federation's",
        )
    return [ids[name] for name in found]


def _splits(settings: DataSettings) -> list[str]:
    return [name for name in (settings.train_split, settings.test_split) if name]
