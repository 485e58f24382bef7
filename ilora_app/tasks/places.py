"""Where a data set comes from, by its name alone; imports nothing that takes time."""

import difflib
import os
import re
from pathlib import Path

from ilora_app.settings import options
from ilora_app.settings.mistake import MistakeError

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
    """Say that a data set is neither here nor on the hub; empty where it may be.

    The hub is asked for two seconds at most; where it is slow to answer nothing is
    said, and where there is no way to it its cache has to have the set.
    """
    try:
        if Path(resolve(name)).exists():
            return ""
    except DataError as error:
        return str(error)
    from httpx import ConnectError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        HfApi().dataset_info(name, timeout=2)
    except GatedRepoError:
        return ""
    except RepositoryNotFoundError:
        return (
            f"dataset = {name!r}: there is no such folder or file here, and the hub "
            f"has no such set that you may see{_near(options.folder(name))}"
        )
    except (ConnectError, OfflineModeIsEnabled):
        if _cached(name):
            return ""
        return (
            f"dataset = {name!r}: there is no such folder or file here, and the hub, "
            "which may have it, cannot be reached; its cache on this machine has no "
            f"such set{_near(options.folder(name))}"
        )
    except Exception:  # slow, or whatever a proxy answers: the run asks again
        return ""
    return ""


def _cached(name: str) -> bool:
    """Whether the hub's cache, or that of prepared sets, has something by a name."""
    from huggingface_hub import constants

    default = Path(constants.HF_HOME) / "datasets"
    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or default).expanduser()
    fetched = Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}"
    kept = [entry.name for entry in prepared.glob("*")]  # as in: nyu-mll___glue
    return fetched.is_dir() or _letters(name) in map(_letters, kept)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _near(place: Path) -> str:
    """Suggest what lies there under a similar name."""
    folder = place.parent
    try:
        names = [entry.name for entry in folder.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(place.name, names, n=1)
    return f"; did you mean {folder / close[0]}?" if close else ""
