"""How files of columns are laid out: the sign between them, quotes, codes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ilora_app.tasks.encodings import encoding
from ilora_app.tasks.places import DataError

_SEPARATORS = ",;\t|"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# 007, which is not 7, and the well 1E2, which is not 100. A number is never written so.
_CODE = re.compile(r"[+-]?0\d+|\d+[eE]\d+")
_BEGINS = frozenset("+-0123456789")
_LONGEST_FIELD = 2**31 - 1
"""Characters; the ``csv`` of Python takes 131072 at first."""


@dataclass(frozen=True)
class Layout:
    """How a file of columns is laid out.

    Attributes:
        separator: the sign between columns.
        quoting: as ``csv`` has it: a quote holds a text, or is a part of it.
        codes: columns of digits that are no numbers.
        trailing: rows end with a separator that the first line has not.

    """

    separator: str
    quoting: int
    codes: frozenset[str]
    trailing: bool


@cache
def layout(file: Path) -> Layout:
    """Find out how a file of columns is laid out, by all of it.

    Raises:
        DataError: its rows have more columns than its first line names.

    """
    sign = separator(file)
    as_text = sign == "\t" and _quotes_are_text(file)
    quoting = csv.QUOTE_NONE if as_text else csv.QUOTE_MINIMAL
    records = _records(file, sign, quoting)
    names = next(records, [])
    codes: set[str] = set()
    longer, blank, numbered = False, True, True
    for number, row in enumerate(records, 1):
        for name, value in zip(names, row, strict=False):
            if value[:1] in _BEGINS and _CODE.fullmatch(value):
                codes.add(name)
        # By its first row pandas takes the first column for one without a name.
        longer = longer or (number == 1 and len(row) > len(names))
        if longer:
            blank = blank and not any(value.strip() for value in row[len(names) :])
            numbered = numbered and row[0].isdecimal()  # as R writes names of rows
            if not (blank or numbered):
                raise DataError(
                    f"dataset = {str(file)!r}: row {number} has {len(row)} columns, "
                    f"and the first line names {len(names)}; expected a name for each, "
                    f"and quotes around a text that has {sign!r} in it",
                    "a table of its data has more columns than names",
                )
    return Layout(sign, quoting, frozenset(codes), longer and blank)


def separator(file: Path) -> str:
    """The sign between the columns: the one that the first line has most of."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    with file.open(encoding=encoding(file).encoding, newline="") as opened:
        first = opened.readline()
    widths = {
        sign: len(next(csv.reader([first], delimiter=sign), [])) for sign in _SEPARATORS
    }
    return max(_SEPARATORS, key=lambda sign: widths[sign])


def _records(file: Path, sign: str, quoting: int) -> Iterator[list[str]]:
    """Rows that are not empty, the first line among them."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with file.open(encoding=encoding(file).encoding, newline="") as opened:
            rows = csv.reader(opened, delimiter=sign, quoting=quoting)  # type: ignore[arg-type]
            yield from filter(None, rows)
    finally:
        csv.field_size_limit(before)


def _quotes_are_text(file: Path) -> bool:
    """Whether quotes are a part of the texts of a file with tabs.

    So many files have them, as their texts are: a quote that begins a column and does
    not end it, while every line has as many columns as the first. Of a text in quotes
    that goes over several lines, lines have fewer.
    """
    width, odd = 0, False
    with file.open(encoding=encoding(file).encoding) as opened:
        for line in opened:
            found = line.rstrip("\n").split("\t")
            if line.isspace():
                continue
            width = width or len(found)
            if len(found) != width:
                return False
            odd = odd or any(v[:1] == '"' and not _QUOTED.fullmatch(v) for v in found)
    return odd
