"""Where a data set comes from, by its name alone; imports nothing that takes time."""

import difflib
import re
from pathlib import Path

from ilora_app.settings import options
from ilora_app.settings.mistake import MistakeError
from ilora_app.tasks import hub

PACKAGED = Path(__file__).parent.parent / "data"

TABLES = (
    ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx",
)  # fmt: skip
"""Ends of the names of files that are a data set by themselves."""

_HUB_ID = re.compile(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?")


class DataError(MistakeError):
    """Data that cannot be used: the key, what was found, what would be right."""


def resolve(name: str) -> str:
    """Path of a packaged or local data set; else the hub id as it stands.

    Raises:
        DataError: ``name`` is a file of no known kind, or looks like a file or folder
            and is none, or cannot be an id of the hub.

    """
    if name.isidentifier() and (PACKAGED / name).is_dir():
        return str(PACKAGED / name)
    place = options.folder(name)
    if place.is_dir():
        return str(place)
    if place.is_file():
        if place.suffix.lower() in TABLES:
            return str(place)
        right = f"a folder, or a file that ends in {', '.join(TABLES)}"
        raise DataError(f"dataset = {name!r}: expected {right}")
    if place.is_absolute() or name.startswith((".", "~", "$")):
        absent = f"dataset = {name!r}: there is no such folder or file{_near(place)}"
        raise DataError(absent, "its data folder is not there")
    if place.suffix.lower() in TABLES:
        raise DataError(f"dataset = {name!r}: there is no such file here{_near(place)}")
    if not _HUB_ID.fullmatch(name):
        raise DataError(
            f"dataset = {name!r}: there is no such folder or file here, and an id of "
            f"the hub is NAME or OWNER/NAME{_near(place)}"
        )
    return name


def is_local(name: str) -> bool:
    """Whether a name is that of a packaged set, a folder or a file on this machine."""
    try:
        return Path(resolve(name)).exists()
    except DataError:
        return False


def absent(name: str) -> str:
    """Say that a data set is neither here nor on the hub; empty where it may be."""
    try:
        if Path(resolve(name)).exists():
            return ""
    except DataError as error:
        return str(error)
    if why := hub.lacks("dataset", name):
        here = f"dataset = {name!r}: there is no such folder or file here, and {why}"
        return f"{here}{_near(options.folder(name))}"
    return ""


def _near(place: Path) -> str:
    """Suggest what lies there under a similar name."""
    folder = place.parent
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(place.name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else ""
