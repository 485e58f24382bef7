"""Which rows a split has: expressions, a part held out by class, rows without class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ilora_app.tasks.places import DataError

# Who predicts needs no data set: what imports ``datasets`` does so when it is called.
if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_MOST_EXACT = 2.0**53
"""A fraction of so many is a whole number only for want of digits."""

Part = tuple[str, int, int]
"""Name of a split, and its rows from the first number up to the second."""


def parts(name: str, sizes: dict[str, int]) -> list[Part]:
    """Read a split's name, or an expression of ``datasets`` such as train[:80%].

    Raises:
        ValueError: it is none, or names a split that is not there.

    """
    if name in sizes:
        return [(name, 0, sizes[name])]
    from datasets import ReadInstruction

    found = ReadInstruction.from_spec(name).to_absolute(sizes)
    return [(one.splitname, one.from_ or 0, one.to) for one in found]


def select(loaded: DatasetDict, chosen: Sequence[Part]) -> Dataset:
    """Take the rows of parts, one part behind the other."""
    taken = [
        loaded[name]
        if (first, last) == (0, len(loaded[name]))
        else loaded[name].select(range(first, last))
        for name, first, last in chosen
    ]
    if len(taken) == 1:
        return taken[0]
    from datasets import concatenate_datasets

    return concatenate_datasets(taken)


def shared(one: Sequence[Part], other: Sequence[Part]) -> int:
    """How many rows two lists of parts have in common."""
    return sum(
        max(0, min(end, last) - max(begin, first))
        for name, begin, end in one
        for again, first, last in other
        if name == again
    )


def held_out(
    labels: Sequence[Hashable] | None, number: int, fraction: float, seed: int
) -> list[int]:
    """Choose rows to test on, a like part of every class.

    Shuffled by the seed and sorted by class, every 1/fraction-th row is taken: each
    class gives its part, rounded up or down. The one row of a class that has no more
    stays for training. Values of which most are there once are no classes.

    Args:
        labels: of the rows; None takes them as one class.
        number: of rows.
        fraction: of the rows to take.
        seed: of the shuffle.

    Raises:
        DataError: a label is a list or an object.

    """
    for row, label in enumerate(labels or ()):
        if not isinstance(label, Hashable):
            held = f"row {row} holds a {type(label).__name__}"
            raise DataError(f"label-column: expected a class in every row, and {held}")
    order = np.random.default_rng(seed).permutation(number)
    counts = Counter(labels or ())
    alone = sum(count == 1 for count in counts.values())
    if labels is not None and alone <= number / 2:
        place = {label: index for index, label in enumerate(counts)}
        order = order[[counts[labels[i]] > 1 for i in order]]
        by_class = np.argsort([place[labels[i]] for i in order], kind="stable")
        order = order[by_class]
    steps = np.floor(np.arange(len(order) + 1) * fraction)
    return sorted(order[np.diff(steps) > 0].tolist())


def has_class(value: object, feature: object) -> bool:
    """Whether a value of a label column names a class.

    Nothing, a blank and NaN do not, nor does the -1 of a column whose schema names
    the classes.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    if isinstance(value, str):
        return bool(value.strip())
    if value != -1:
        return True
    from datasets import ClassLabel

    return not isinstance(feature, ClassLabel)


def class_name(value: object, among: Collection[str] = ()) -> str:
    """How a value of a label column is called: true and false as JSON writes them.

    A table of nothing else holds truth values, however it writes them, and one with
    unknown in it texts: they are the same classes.

    Args:
        value: as the column has it.
        among: names that are known; true and false are found in any case.

    """
    name = str(value).lower() if isinstance(value, bool) else str(value)
    if name in among or name.casefold() not in ("true", "false"):
        return name
    alike = [known for known in among if known.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else name


def labelled(rows: Dataset, column: str) -> list[int]:
    """Rows whose label column names a class."""
    feature, values = rows.features[column], rows[column][:]
    if _all_minus_one(values):
        return []
    return [i for i, value in enumerate(values) if has_class(value, feature)]


def whole_numbers(rows: Dataset, column: str) -> Dataset:
    """Read 1.0 as 1 in a label column: a gap turns whole numbers into fractions."""
    from datasets import Value

    feature = rows.features[column]
    if not isinstance(feature, Value) or "float" not in feature.dtype:
        return rows
    values = [v for v in rows.unique(column) if v is not None and not math.isnan(v)]
    whole = all(float(v).is_integer() and abs(v) < _MOST_EXACT for v in values)
    if not values or not whole:
        return rows
    plain = [None if v is None or math.isnan(v) else int(v) for v in rows[column]]
    changed = rows.remove_columns([column]).add_column(column, plain)
    return changed.select_columns(rows.column_names)


def is_list(rows: Dataset, column: str) -> bool:
    """Whether the values of a column are lists."""
    feature = rows.features[column]
    return isinstance(feature, dict | list) or hasattr(feature, "feature")


def one_class(rows: Dataset, column: str) -> None:
    """Refuse a column that holds lists.

    Raises:
        DataError: its values are lists.

    """
    if is_list(rows, column):
        raise DataError(
            f"label-column = {column!r}: its values are lists; expected one class a "
            "row, or task = 'multi-label-classification' (token-classification where "
            "they are tags of words)",
            "its labels are lists, and expected is one class a row",
        )


def _all_minus_one(values: Sequence[object]) -> bool:
    """Whole numbers that are -1 in every row stand for no class."""
    return bool(values) and all(value == -1 for value in values)
