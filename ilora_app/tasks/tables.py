"""Files of columns as an open data set: one, or a folder of them."""

from __future__ import annotations

import codecs
import csv
import glob
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilora_app.tasks.places import DataError

# Who predicts needs no data set: what imports ``datasets`` does so when it is called.
if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_SEPARATORS = ",;\t|"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of a text, "" alone is no value: NA, None and null are words and names of classes.
_PLAIN = {"keep_default_na": False, "na_values": [""]}


@dataclass(frozen=True)
class Written:
    """How a file of text is written.

    Attributes:
        encoding: UTF-8 where its bytes are that, else a guess.
        guessed: the encoding is a guess.

    """

    encoding: str
    guessed: bool = False


@cache
def encoding(file: Path) -> Written:
    """Find out how a file of text is written, by all of its bytes."""
    with file.open("rb") as opened:
        begin = opened.read(4)
        for mark, name in _MARKS:
            if begin.startswith(mark):
                return Written(name)
        opened.seek(0)
        reader = codecs.getincrementaldecoder("utf-8")()
        try:
            while block := opened.read(2**20):
                reader.decode(block)
            reader.decode(b"", final=True)
        except UnicodeDecodeError:
            return Written("cp1252" if _decodes(file, "cp1252") else "latin-1", True)
    return Written("utf-8")


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


def open_file(file: Path) -> Dataset:
    """Open one file.

    Raises:
        DataError: it is .xlsx, and what reads that is not installed.

    """
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        return _load("csv", file, **csv_options(file))
    if kind == ".xlsx":
        return _sheet(file)
    if kind == ".parquet":
        return _load("parquet", file)
    return _load("json", file)


def csv_options(file: Path) -> dict[str, Any]:
    """How pandas reads a file of columns."""
    return {"sep": separator(file), "encoding": encoding(file).encoding, **_PLAIN}


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
    """Open a folder of csv or tsv files; None where it holds anything else."""
    files = files_of(folder)
    if not files or any(file.suffix.lower() not in (".csv", ".tsv") for file in files):
        return None
    # They have one encoding; plain letters alone do not tell which.
    told = next((file for file in files if encoding(file).guessed), files[0])
    import datasets

    return datasets.load_dataset("csv", data_dir=str(folder), **csv_options(told))


def files_of(folder: Path) -> list[Path]:
    """Files of a folder and of folders in it, but hidden ones and a plain README.md."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part[0] == "." for part in file.relative_to(folder).parts)
        and not (file.name == "README.md" and not _is_card(file))
    ]


def _is_card(file: Path) -> bool:
    """Whether a README.md says to ``datasets`` what lies where."""
    with file.open("rb") as opened:
        return opened.read(3) == b"---"


def _load(kind: str, file: Path, **how: Any) -> Dataset:
    import datasets

    name = glob.escape(str(file))
    return datasets.load_dataset(kind, data_files=[name], split="train", **how)


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


def _decodes(file: Path, name: str) -> bool:
    try:
        codecs.decode(file.read_bytes(), name)
    except UnicodeDecodeError:
        return False
    return True
