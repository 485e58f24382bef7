"""Words in the names of files and folders that ``datasets`` takes for splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from pathlib import Path

from ilora_app.settings.data import TEST, TRAIN
from ilora_app.tasks.listing import files_of, is_card
from ilora_app.tasks.places import TABLES, DataError

_WORDS = {
    TRAIN: (TRAIN, "training"),
    "validation": ("validation", "valid", "dev", "val"),
    TEST: (TEST, "testing", "eval", "evaluation"),
}

_READERS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
"""What reads a table, by its ending; a .json may as well say something about others."""

_BESIDE = ("", ".json", ".md", ".txt")
"""Ends of files that lie beside tables; beside images, tables may be no data."""

_NAMED = 5
"""So many files are named in a message."""


def meant(name: str) -> str:
    """Split that a folder's name is a word for; empty where it is none."""
    found = (split for split, words in _WORDS.items() if name.casefold() in words)
    return next(found, "")


def check(folder: Path) -> None:
    """Refuse files that ``datasets`` would read into two splits, or into none.

    Args:
        folder: with a card that says what lies where, it is left to that.

    Raises:
        DataError: a name has the words of both, such as train/test/1.png, or of none
            while those of others have one; or there are tables of several kinds.

    """
    card = folder / "README.md"
    if card.is_file() and is_card(card):
        return
    files_by_split(folder)
    _refuse_kinds(folder)


def _refuse_kinds(folder: Path) -> None:
    files = [file.relative_to(folder) for file in files_of(folder)]
    kinds: dict[str, Path] = {}
    for file in files:
        reader = _READERS.get(file.suffix.lower())
        if reader and not _is_beside(file):
            kinds.setdefault(reader, file)
    ends = {file.suffix.lower() for file in files}
    if len(kinds) > 1 and ends <= {*_READERS, *_BESIDE}:
        raise DataError(
            f"dataset = {str(folder)!r}: of {' and '.join(map(str, kinds.values()))} "
            "datasets would read one kind alone; expected tables of one kind in a "
            "folder",
            "its data folder holds tables of several kinds",
        )


def files_by_split(folder: Path) -> dict[str, list[Path]]:
    """Files that ``datasets`` takes for each split, by the words in their names.

    Raises:
        DataError: a name has the words of two splits, or of none while others have.

    """
    from datasets.data_files import DataFilesDict, get_data_patterns

    place = str(folder)
    try:
        found = DataFilesDict.from_patterns(get_data_patterns(place), place)
    except FileNotFoundError:  # there are none: what reads them says so
        return {}
    times = Counter(file for files in found.values() for file in set(files))
    twice = sorted(file for file, number in times.items() if number > 1)
    if not twice:
        own = {file.resolve(): file for file in files_of(folder)}
        by_split = {
            str(name): [own[one] for one in map(_resolved, found[name]) if one in own]
            for name in found
        }
        read = {file for part in by_split.values() for file in part}
        _refuse_unread(folder, read, set(own.values()) - read)
        return by_split
    first = _resolved(twice[0]).relative_to(folder.resolve())
    both = " and ".join(str(name) for name in found if twice[0] in found[name])
    raise DataError(
        f"dataset = {place!r}: {first} is a file of the splits {both} by its name, "
        f"as are {len(twice)} in all; rename the file or the folder so that it has "
        "the word of one split alone, such as tested for test",
        "files in its data folder are in two splits by their names",
    )


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def _refuse_unread(folder: Path, read: Set[Path], others: Set[Path]) -> None:
    """Refuse files of data that ``datasets`` would pass over without a word.

    Raises:
        DataError: there are such files.

    """
    from datasets.data_files import FILES_TO_IGNORE

    # A .json may as well say something about the data.
    ends = {*TABLES} - {".json"} | {file.suffix.lower() for file in read} - {""}
    unread = [
        str(file.relative_to(folder))
        for file in sorted(others)
        if file.suffix.lower() in ends
        and file.name not in FILES_TO_IGNORE
        and not _is_beside(file.relative_to(folder))
    ]
    if not unread:
        return
    more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
    raise DataError(
        f"dataset = {str(folder)!r}: {', '.join(unread[:_NAMED])}{more} would be read "
        f"into no split, as splits go by names such as {min(read).relative_to(folder)},"
        " which has a word for one (train, val, test, eval and the like); expected "
        "such a word in the name of every file, or in that of the folder of every "
        "file, or in none",
        f"{len(unread)} files in its data folder are in no split by their names, while "
        "others are",
    )


def _is_beside(file: Path) -> bool:
    """Whether ``datasets`` reads a file by other rules: metadata, and a __folder."""
    return file.stem == "metadata" or any(p[:2] == "__" for p in file.parent.parts)
