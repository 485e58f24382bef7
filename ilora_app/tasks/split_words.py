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
    from datasets.data_files import DataFilesDict, get_data_patterns

    card = folder / "README.md"
    if card.is_file() and card.read_bytes()[:3] == b"---":
        return  # it says itself what lies where
    place = str(folder)
    try:
        found = DataFilesDict.from_patterns(get_data_patterns(place), place)
    except FileNotFoundError:  # there are none: what reads them says so
        return
    times = Counter(file for files in found.values() for file in set(files))
    twice = sorted(file for file, number in times.items() if number > 1)
    if not twice:
        return
    first = Path(twice[0]).relative_to(folder)
    splits = " and ".join(
        str(split) for split, files in found.items() if twice[0] in files
    )
    raise DataError(
        f"dataset = {place!r}: {first} is a file of the splits {splits} by its name, "
        f"as are {len(twice)} in all; rename the file or the folder so that it has "
        "the word of one split alone, such as tested for test",
        "files in its data folder are in two splits by their names",
    )
