"""Packaged set, local folder in any usual format, or hub id -> an open data set."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.settings import DataSettings, options

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

PACKAGED = Path(__file__).parent.parent / "data"

# What datasets.Dataset.save_to_disk and DatasetDict.save_to_disk leave.
_SAVED = ("dataset_dict.json", "state.json")


class DataError(ValueError):
    """Data that cannot be used: the key, what was found, what would be right.

    Args:
        message: for who has the data.
        told: the same for others: counts, and no values, columns or folders.

    """

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told


def resolve(name: str) -> str:
    """Folder of a packaged or local data set; else the hub id as it stands.

    Raises:
        DataError: ``name`` looks like a folder and is none.

    """
    if name.isidentifier() and (PACKAGED / name).is_dir():
        return str(PACKAGED / name)
    folder = options.folder(name)
    if folder.is_dir():
        return str(folder)
    if folder.is_absolute() or name.startswith((".", "~", "$")):
        absent = f"dataset = {name!r}: there is no such folder"
        raise DataError(absent, "its data folder is not there")
    return name


def split(settings: DataSettings, name: str, seed: int) -> "Dataset":
    """Load one whole split, shuffled by the seed.

    Raises:
        DataError: the set cannot be loaded, or has no such split.

    """
    loaded = _opened(settings.dataset, settings.dataset_subset, seed)
    if name in loaded:
        return loaded[name]
    key = "train-split" if name == settings.train_split else "test-split"
    raise DataError(
        f"{key} = {name!r}: {settings.dataset} has the splits {', '.join(loaded)}"
    )


def only_split(settings: DataSettings, seed: int) -> "Dataset":
    """Load ``train-split``, or the one split of a set that has no other.

    Raises:
        DataError: the set cannot be loaded, or has several splits and not that one.

    """
    loaded = _opened(settings.dataset, settings.dataset_subset, seed)
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    return split(settings, settings.train_split, seed)


@cache
def _opened(name: str, subset: str, seed: int) -> "DatasetDict":
    """Open a set once a process; every split is shuffled by the seed."""
    import datasets

    datasets.disable_progress_bars()
    where = resolve(name)
    folder = Path(where)
    try:
        if any((folder / mark).is_file() for mark in _SAVED):
            found = datasets.load_from_disk(where)
        else:
            found = datasets.load_dataset(where, subset or None)
    except Exception as error:  # datasets raises its own kinds, and OSError, ValueError
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        whole = _unavailable(name, folder, cause)
        raise DataError(whole, "its data cannot be loaded") from error
    if isinstance(found, datasets.Dataset):
        found = datasets.DatasetDict({"train": found})
    return found.shuffle(seed=seed)


def _unavailable(name: str, folder: Path, cause: str) -> str:
    if "corresponds to no data" in cause:  # datasets says so of a split without rows
        empty = cause.split('"')[1]
        return f"dataset = {name!r}: the split {empty} is empty"
    if folder.is_dir():
        return (
            f"dataset = {name!r}: the folder cannot be read ({cause}); expected "
            "parquet, csv or jsonl files, folders of images, or what save_to_disk wrote"
        )
    return (
        f"dataset = {name!r}: no packaged set, no local folder, and not to be had from "
        f"the hub or its cache ({cause}). Log in if it is gated (hf auth login), or "
        "name a local folder, or leave dataset at its default, which is packaged"
    )
