"""Files of columns as an open data set: one, or a folder of them."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilora_app.tasks import datasets_cache, delimited, split_names
from ilora_app.tasks.encodings import encoding
from ilora_app.tasks.listing import files_of
from ilora_app.tasks.places import DataError

# Who predicts needs no data set: what imports ``datasets`` does so when it is called.
if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# Of a text, "" alone is no value: NA, None and null are words and names of classes.
_PLAIN = {"keep_default_na": False, "na_values": [""]}


def open_file(file: Path) -> Dataset:
    """Open one file.

    Raises:
        DataError: it is .xlsx, and what reads that is not installed; or its rows have
            more columns than its first line names.

    """
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        return _load("csv", file, **csv_options(file))
    if kind == ".xlsx":
        return _sheet(file)
    if kind == ".parquet":
        return _load("parquet", file)
    return _load("json", file)


def csv_options(file: Path, codes: frozenset[str] = frozenset()) -> dict[str, Any]:
    """How pandas reads a file of columns.

    Args:
        file: .csv or .tsv.
        codes: columns that are texts whatever stands in this file.

    Raises:
        DataError: its rows have more columns than its first line names.

    """
    found = delimited.layout(file)
    how: dict[str, Any] = {
        "sep": found.separator,
        "encoding": encoding(file).encoding,
        "quoting": found.quoting,
        **_PLAIN,
    }
    if found.trailing:
        how["index_col"] = False
    if texts := sorted(found.codes | codes):
        how["converters"] = dict.fromkeys(texts, _as_it_stands)
    return how


def notes(place: Path) -> list[str]:
    """Say what was guessed of a file, or of the files of a folder."""
    kinds = (".csv", ".tsv", ".txt")
    files = [place] if place.is_file() else files_of(place)
    texts = [file for file in files if file.suffix.lower() in kinds]
    guessed = [file for file in texts if encoding(file).guessed]
    if not guessed:
        return []
    which = guessed[0].name
    if len(guessed) > 1:
        which += f" and {len(guessed) - 1} more files"
    name = {"cp1252": "Windows-1252, a form of Latin-1"}
    return [
        f"{which}: not UTF-8, and read as "
        f"{name.get(encoding(guessed[0]).encoding, 'Latin-1')}, which is a guess; "
        "where letters look wrong, save it as UTF-8"
    ]


def open_columns(folder: Path) -> DatasetDict | None:
    """Open a folder of csv or tsv files; None where it holds anything else.

    Raises:
        DataError: a file is in two splits by its name, or in none, or cannot be read.

    """
    files = files_of(folder)
    if not files or any(file.suffix.lower() not in (".csv", ".tsv") for file in files):
        return None
    by_split = split_names.files_by_split(folder)
    # What is a code in one file is none that is counted with in another.
    codes = frozenset[str]().union(*(delimited.layout(file).codes for file in files))
    how = {file: csv_options(file, codes) for file in files}
    import datasets

    first = how[files[0]]
    if all(one == first for one in how.values()):
        named = {
            split: [glob.escape(str(file)) for file in those]
            for split, those in by_split.items()
        }
        return datasets.load_dataset(
            "csv", data_files=named, cache_dir=datasets_cache.folder(), **first
        )
    found: dict[str, Dataset] = {}
    for split, those in by_split.items():
        parts = [_load("csv", file, **how[file]) for file in those]
        rows = datasets.concatenate_datasets(parts)
        like = next(iter(found.values()), rows).features
        if sorted(like) == sorted(rows.column_names):
            rows = rows.select_columns(list(like)).cast(like)
        found[split] = rows
    return datasets.DatasetDict(found)


def _as_it_stands(value: str) -> str | None:
    return value or None


def _load(kind: str, file: Path, **how: Any) -> Dataset:
    import datasets

    name = glob.escape(str(file))
    return datasets.load_dataset(
        kind, data_files=[name], split="train", cache_dir=datasets_cache.folder(), **how
    )


def _sheet(file: Path) -> Dataset:
    import pandas
    from datasets import Dataset

    try:
        table = pandas.read_excel(file, **_PLAIN)
    except ImportError as error:
        raise DataError(
            f"dataset = {str(file)!r}: reading .xlsx needs openpyxl (pip install "
            "openpyxl); or save the sheet as .csv"
        ) from error
    table.columns = [str(name) for name in table.columns]
    return Dataset.from_pandas(table, preserve_index=False)
