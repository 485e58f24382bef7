"""Packaged set, local file or folder in any usual format, or hub id -> its splits."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.settings import DataSettings
from ilora_app.settings.data import TEST
from ilora_app.tasks import (
    columns,
    datasets_cache,
    folders,
    not_loaded,
    split_names,
    splits,
    tables,
)
from ilora_app.tasks.places import PACKAGED, DataError, resolve

__all__ = [
    "PACKAGED",
    "DataError",
    "notes",
    "only_split",
    "overlap",
    "resolve",
    "split",
]

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

# What datasets.Dataset.save_to_disk and DatasetDict.save_to_disk leave.
_SAVED = ("dataset_dict.json", "state.json")


@cache
def split(settings: DataSettings, name: str, seed: int) -> Dataset:
    """Load one whole split, shuffled by the seed.

    Args:
        settings: which set, and what is held out of it or left out.
        name: ``train-split`` or ``test-split``, or a part such as ``train[:80%]``.
        seed: of the order of the rows, and of what is held out.

    Raises:
        DataError: the set cannot be loaded, or has no such split.

    """
    held_out = holds_out(settings)
    rows = _tidy(_whole(settings, settings.train_split if held_out else name), settings)
    if held_out:
        label = columns.label_of(settings, rows.column_names)
        classes = label and not splits.is_list(rows, label)
        values = list(rows[label]) if classes else None
        tested = splits.held_out(values, len(rows), settings.test_fraction, seed)
        trained = sorted(set(range(len(rows))) - set(tested))
        rows = rows.select(tested if name == settings.test_split else trained)
    return rows.shuffle(seed=seed)


def only_split(settings: DataSettings, seed: int) -> Dataset:
    """Load ``train-split``, or the one split of a set that has no other, whole.

    Raises:
        DataError: the set cannot be loaded, or has several splits and not that one.

    """
    return _tidy(_only(settings), settings).shuffle(seed=seed)


def left_out(settings: DataSettings) -> int:
    """Count the rows without a class that :func:`only_split` leaves out.

    Raises:
        DataError: as there.

    """
    whole = _only(settings)
    return len(whole) - len(_tidy(whole, settings))


def holds_out(settings: DataSettings) -> bool:
    """Whether the test split is held out of the training split, the only one there is.

    Raises:
        DataError: the set cannot be loaded.

    """
    loaded = _opened(settings.dataset, settings.dataset_subset)
    one = list(loaded) == [settings.train_split]
    return one and settings.test_split == TEST and settings.test_fraction > 0


def overlap(settings: DataSettings) -> list[str]:
    """Say that rows are both trained and tested on.

    Raises:
        DataError: the set cannot be loaded, or has no such split.

    """
    train, test = settings.train_split, settings.test_split
    if not train or holds_out(settings):
        return []
    common = splits.shared(_parts(settings, train), _parts(settings, test))
    if not common:
        return []
    return [
        f"test-split = {test!r}: {common} of its rows are those of train-split = "
        f"{train!r}; expected rows that are not trained on, such as train[80%:] beside "
        "train[:80%]"
    ]


def notes(settings: DataSettings, seed: int) -> list[str]:
    """Say for people what was guessed, held out, and left out.

    Raises:
        DataError: the set cannot be loaded, or has no such split.

    """
    place = Path(resolve(settings.dataset))
    found = tables.notes(place) if place.exists() else []
    used = [name for name in (settings.train_split, settings.test_split) if name]
    if holds_out(settings):
        used = [settings.train_split]
        test, train = (
            split(settings, name, seed)
            for name in (settings.test_split, settings.train_split)
        )
        label = columns.label_of(settings, test.column_names)
        alike = f", a like part of every class of {label}" if label else ""
        found.append(
            f"the data has no test split: {len(test)} of {len(test) + len(train)} rows "
            f"are held out as one (test-fraction = {settings.test_fraction:g}{alike}, "
            f"seed {seed})"
        )
    for name in used if settings.drop_unlabelled else ():
        whole = _whole(settings, name)
        dropped = len(whole) - len(_tidy(whole, settings))
        if dropped:
            found.append(
                f"{dropped} of {len(whole)} rows of the split {name} have no class, "
                "and are left out (drop-unlabelled)"
            )
    return found


def _only(settings: DataSettings) -> Dataset:
    loaded = _opened(settings.dataset, settings.dataset_subset)
    if len(loaded) == 1:
        return next(iter(loaded.values()))
    return _whole(settings, settings.train_split)


def _whole(settings: DataSettings, name: str) -> Dataset:
    loaded = _opened(settings.dataset, settings.dataset_subset)
    return splits.select(loaded, _parts(settings, name))


def _parts(settings: DataSettings, name: str) -> list[splits.Part]:
    loaded = _opened(settings.dataset, settings.dataset_subset)
    sizes = {key: len(rows) for key, rows in loaded.items()}
    try:
        return splits.parts(name, sizes)
    except (ValueError, AssertionError) as error:
        key = "train-split" if name == settings.train_split else "test-split"
        more = "" if "[" not in name else " (a part of one is train[:80%])"
        raise DataError(
            f"{key} = {name!r}: {settings.dataset} has the splits "
            f"{', '.join(loaded)}{more}",
            f"{key} = {name!r}: its data has no such split",
        ) from error


def _tidy(rows: Dataset, settings: DataSettings) -> Dataset:
    """Whole numbers as such in the column of the class, and no rows without one."""
    label = columns.label_of(settings, rows.column_names)
    if not label:
        return rows
    rows = splits.whole_numbers(rows, label)
    if settings.drop_unlabelled:
        kept = splits.labelled(rows, label)
        rows = rows if len(kept) == len(rows) else rows.select(kept)
    return rows


@cache
def _opened(name: str, subset: str) -> DatasetDict:
    """Open a set once a process, its rows in their own order."""
    import datasets

    datasets.disable_progress_bars()
    where = resolve(name)
    place = Path(where)
    try:
        found = _read(place) if place.exists() else None
        if found is None:
            kept = None
            if place.is_dir():
                split_names.check(place)
                kept = datasets_cache.folder()
            found = datasets.load_dataset(where, subset or None, cache_dir=kept)
    except DataError:
        raise
    except Exception as error:  # datasets raises its own kinds, and OSError, ValueError
        cause = not_loaded.cause(error)
        whole = not_loaded.why(name, place, cause)
        kind = type(error).__name__
        raise DataError(whole, f"its data cannot be loaded ({kind})") from error
    if not isinstance(found, datasets.DatasetDict):
        found = datasets.DatasetDict({"train": found})
    return folders.undecoded(found)


def _read(place: Path) -> Dataset | DatasetDict | None:
    """Read what is here; None for a folder that is for ``load_dataset``."""
    if place.is_file():
        return folders.typed(tables.open_file(place), place.parent)
    if any((place / mark).is_file() for mark in _SAVED):
        return _saved(place)
    return (
        tables.open_columns(place)
        or folders.open_classes(place)
        or folders.open_beside(place)
    )


def _saved(place: Path) -> Dataset | DatasetDict:
    """Open what ``save_to_disk`` wrote, and write nothing there.

    ``datasets`` keeps the order of shuffled or sorted rows beside the file that they
    are mapped from, here in somebody's own folder, which may be read-only. Where it
    takes the table for one in memory it keeps the order there; the rows stay mapped.
    """
    from datasets import Dataset, DatasetDict, load_from_disk
    from datasets.table import InMemoryTable

    def apart(rows: Dataset) -> Dataset:
        table = InMemoryTable(rows.data.table)
        return Dataset(table, rows.info, rows.split, fingerprint=rows._fingerprint)

    loaded = load_from_disk(str(place))
    if isinstance(loaded, Dataset):
        return apart(loaded)
    return DatasetDict({name: apart(rows) for name, rows in loaded.items()})
