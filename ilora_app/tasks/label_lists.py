"""Label columns of several values a row: the classes of a text, the tags of its words.

A row holds a list, or one text: classes with a comma, semicolon or bar between them, or
tags with spaces; or a list as pandas writes it into a csv.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ilora_app.settings import DataSettings
from ilora_app.tasks import written_lists
from ilora_app.tasks.sources import DataError, split

if TYPE_CHECKING:
    from datasets import Dataset

Parts = Callable[[str], list[str]]
_BETWEEN = re.compile(r"[,;|]")


def classes_in(text: str) -> list[str]:
    """Cut a text into names of classes."""
    return [part.strip() for part in _BETWEEN.split(text) if part.strip()]


def words_in(text: str) -> list[str]:
    """Cut a text into words, or into tags."""
    return text.split()


def values(rows: Dataset, column: str, parts: Parts) -> list[list[str]]:
    """Read a column as lists of texts; nothing is an empty list.

    Raises:
        DataError: it holds something else, or a list has nothing in a place.

    """
    inner = getattr(rows.features[column], "feature", None)
    name = _namer(inner)
    held = rows[column][:]
    written = written_lists.read([v for v in held if isinstance(v, str)], column)
    found: list[list[str]] = []
    for value in held:
        if value is None:
            found.append([])
        elif isinstance(value, str):
            found.append(written[value] if value in written else parts(value))
        elif isinstance(value, Sequence):
            if None in value:
                raise DataError(
                    f"the column {column!r}: expected a name in every place of a list, "
                    f"found {value!r}; take what is null out",
                    "a column of its data: expected a name in every place of a list",
                )
            found.append([name(one) for one in value])
        else:
            raise DataError(
                f"the column {column!r}: expected lists, or texts that name several, "
                f"found {value!r}",
                "a column of its data: expected lists, or texts that name several",
            )
    return found


def names_of(settings: DataSettings, seed: int, parts: Parts) -> tuple[str, ...]:
    """Names in the order of their ids: of the schema, else sorted, of both splits.

    Raises:
        DataError: a split cannot be loaded, or holds no lists.

    """
    column = settings.label_column
    used = filter(None, (settings.train_split, settings.test_split))
    both = [split(settings, name, seed) for name in used]
    inner = getattr(both[0].features[column], "feature", None)
    if listed := getattr(inner, "names", None):
        return tuple(listed)
    found = {v for rows in both for row in values(rows, column, parts) for v in row}
    if all(re.fullmatch(r"-?\d+", name) for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def ids_of(
    rows: Dataset, column: str, labels: tuple[str, ...], parts: Parts
) -> list[list[int]]:
    """Ids of the values of each row among the federation's.

    Raises:
        DataError: a value that is none of them.

    """
    ids = {name: i for i, name in enumerate(labels)}
    lists = values(rows, column, parts)
    strangers = sorted({v for row in lists for v in row} - set(ids))
    if strangers:
        known = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
        raise DataError(
            f"the class {strangers[0]!r} is not one of the federation's: {known}",
            f"{len(strangers)} of the classes in its data are none of the federation's",
        )
    return [[ids[v] for v in row] for row in lists]


def _namer(inner: Any) -> Callable[[Any], str]:
    """How a value of a list is written: by its name, where the schema has names."""
    listed = getattr(inner, "names", None)

    def write(value: Any) -> str:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if listed and whole and 0 <= value < len(listed):
            return str(listed[value])
        return str(value)

    return write
