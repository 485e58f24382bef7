"""Rows to predict from: words of a command line, or a .csv, .tsv or .jsonl file."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ilora_app.export.places import ReleaseError
from ilora_app.settings import options
from ilora_app.tasks.delimited import layout
from ilora_app.tasks.encodings import encoding
from ilora_app.tasks.places import DataError

Row = dict[str, str]


def of_words(words: Sequence[str], columns: Sequence[str]) -> list[Row]:
    """Read words as rows, as many words a row as the model has columns.

    Raises:
        ReleaseError: there are none, or they do not come out even.

    """
    width = len(columns)
    if not words or len(words) % width:
        many = f"{width} texts at a time ({', '.join(columns)})"
        right = "a text or an image at least, or --file" if width == 1 else many
        raise ReleaseError(f"{len(words)} given: expected {right}")
    return [
        dict(zip(columns, words[i : i + width], strict=True))
        for i in range(0, len(words), width)
    ]


def of_file(path: Path, columns: Sequence[str]) -> list[Row]:
    """Read the columns of a .csv, .tsv or .jsonl file, as training reads them.

    Raises:
        ReleaseError: it cannot be read, has no rows, or a row lacks a column; with
            the line.

    """
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            found = _columns(path)
        elif path.suffix in (".jsonl", ".ndjson"):
            found = _jsonl(path)
        else:
            raise ReleaseError(f"--file {path}: expected a .csv, .tsv or .jsonl file")
    except (OSError, UnicodeDecodeError, csv.Error, DataError) as error:
        raise ReleaseError(f"--file {path} cannot be read: {error}") from None
    if not found:
        raise ReleaseError(f"--file {path}: it has no rows")
    rows = []
    for line, values in found:
        for name in columns:
            value = values.get(name)
            if not isinstance(value, str | int | float) or not _is_text(str(value)):
                have = ", ".join(str(key) for key in values)
                raise ReleaseError(
                    f"--file {path}, line {line}: column {name} holds "
                    f"{value!r}: expected text (it has {have})"
                )
        rows.append({name: str(values[name]) for name in columns})
    return rows


def _is_text(value: str) -> bool:
    """Whether there is something in it, and no half of a character (a surrogate)."""
    return bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)


def beside(rows: list[Row], column: str, folder: Path) -> list[Row]:
    """Read names of files in a column as relative to a folder."""
    return [row | {column: str(folder / options.folder(row[column]))} for row in rows]


def _columns(path: Path) -> list[tuple[int, dict[str, object]]]:
    how = layout(path)
    with path.open(encoding=encoding(path).encoding, newline="") as file:
        signs: dict[str, Any] = {"delimiter": how.separator, "quoting": how.quoting}
        reader = csv.DictReader(file, **signs)
        return [(reader.line_num, {**row}) for row in reader]


def _jsonl(path: Path) -> list[tuple[int, dict[str, object]]]:
    found = []
    # Not splitlines: a text may hold other ends of lines, such as U+2028.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ReleaseError(f"--file {path}, line {number}: {error}") from None
        if not isinstance(values, dict):
            raise ReleaseError(f"--file {path}, line {number}: expected an object")
        found.append((number, values))
    return found
