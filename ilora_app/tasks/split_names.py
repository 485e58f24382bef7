"""Words in the names of files and folders that ``datasets`` takes for splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ilora_app.settings.data import TEST, TRAIN
from ilora_app.tasks.places import DataError

_WORDS = {
    TRAIN: (TRAIN, "training"),
    "validation": ("validation", "valid", "dev", "val"),
    TEST: (TEST, "testing", "eval", "evaluation"),
}


def meant(name: str) -> str:
    """Split that a folder's name is a word for; empty where it is none."""
    found = (split for split, words in _WORDS.items() if name.casefold() in words)
    return next(found, "")


def refuse_shared(folder: Path) -> None:
    """Refuse files that ``datasets`` would read into two splits.

    Raises:
        DataError: a name has the words of both, such as train/test/1.png.

    """
    card = folder / "README.md"
    if card.is_file() and card.read_bytes()[:3] == b"---":
        return  # it says itself what lies where
    files_by_split(folder)


def files_by_split(folder: Path) -> dict[str, list[Path]]:
    """Files that ``datasets`` takes for each split, by the words in their names.

    Raises:
        DataError: a name has the words of two splits.

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
        return {str(name): [Path(one) for one in found[name]] for name in found}
    first = Path(twice[0]).relative_to(folder)
    both = " and ".join(str(name) for name in found if twice[0] in found[name])
    raise DataError(
        f"dataset = {place!r}: {first} is a file of the splits {both} by its name, "
        f"as are {len(twice)} in all; rename the file or the folder so that it has "
        "the word of one split alone, such as tested for test",
        "files in its data folder are in two splits by their names",
    )
