"""Packaged set, local folder or hub id -> test split and this node's partition."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import datasets
from datasets import Dataset
from flwr_datasets import FederatedDataset
from flwr_datasets.partitioner import DirichletPartitioner

from ilora_app import options
from ilora_app.options import names
from ilora_app.settings import DataSettings

PACKAGED = Path(__file__).parent.parent / "data"


class DataError(ValueError):
    """Data that cannot be used: the key, what was found, what would be right."""


@dataclass(frozen=True)
class Partition:
    """One client's examples: for training, and held out for its own evaluation."""

    train: Dataset
    held_out: Dataset


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
        raise DataError(f"dataset = {name!r}: there is no such folder")
    return name


@cache
def federated(settings: DataSettings, partitions: int, seed: int) -> FederatedDataset:
    """Open the data set with its Dirichlet split over ``partitions`` clients."""
    datasets.disable_progress_bars()
    partitioner = DirichletPartitioner(
        num_partitions=partitions,
        partition_by=settings.label_column,
        alpha=settings.dirichlet_alpha,
        min_partition_size=settings.min_partition_size,
        self_balancing=False,
        seed=seed,
    )
    return FederatedDataset(
        dataset=resolve(settings.dataset),
        partitioners={settings.train_split: partitioner},
        seed=seed,
    )


def split(settings: DataSettings, name: str, seed: int) -> Dataset:
    """Load one whole split, shuffled by the seed.

    Raises:
        DataError: the set cannot be loaded, or has no such split.

    """
    source = federated(settings, 1, seed)
    try:
        return source.load_split(name)
    except Exception as error:  # datasets raises its own kinds, and OSError, ValueError
        available = splits(settings, seed)
        key = "train-split" if name == settings.train_split else "test-split"
        if available and name not in available:
            raise DataError(
                f"{key} = {name!r}: {settings.dataset} has the splits "
                f"{', '.join(available)}"
            ) from error
        raise DataError(
            f"dataset = {settings.dataset!r}: expected a packaged set, a local folder, "
            f"or a hub id that can be reached ({_first_line(error)})"
        ) from error


def splits(settings: DataSettings, seed: int) -> list[str]:
    """Names of the splits; none where the set cannot be loaded."""
    loaded = federated(settings, 1, seed)._dataset
    return list(loaded) if loaded else []


def problems(settings: DataSettings, seed: int) -> list[str]:
    """Every mistake in splits and columns."""
    found = []
    for name in (settings.train_split, settings.test_split):
        try:
            loaded = split(settings, name, seed)
        except DataError as error:
            found.append(str(error))
            continue
        columns = ", ".join(loaded.column_names)
        for key, wanted in (
            ("text-columns", names(settings.text_columns)),
            ("label-column", (settings.label_column,)),
        ):
            found += [
                f"{key} = {column!r}: {settings.dataset} has the columns {columns}"
                for column in wanted
                if column not in loaded.column_names
            ]
        if len(loaded) == 0:
            found.append(f"dataset = {settings.dataset!r}: the split {name} is empty")
    return list(dict.fromkeys(found))


@cache
def label_names(settings: DataSettings, seed: int) -> tuple[str, ...]:
    """Names of the classes, in the order of their ids.

    From the schema where it has them; else the sorted values of both splits.

    Raises:
        DataError: the column holds something other than text or whole numbers.

    """
    both = [
        split(settings, settings.train_split, seed),
        split(settings, settings.test_split, seed),
    ]
    feature = both[0].features[settings.label_column]
    if isinstance(feature, datasets.ClassLabel):
        return tuple(feature.names)
    values = {v for s in both for v in s.unique(settings.label_column)}
    if not all(isinstance(value, (str, int)) for value in values):
        raise DataError(
            f"label-column = {settings.label_column!r}: expected text or whole numbers"
        )
    return tuple(str(value) for value in sorted(values))


def label_ids(
    column: list[str | int], feature: object, labels: tuple[str, ...]
) -> list[int]:
    """Ids of the values of a label column."""
    if isinstance(feature, datasets.ClassLabel):
        return [int(value) for value in column]
    ids = {name: i for i, name in enumerate(labels)}
    return [ids[str(value)] for value in column]


def partition(
    settings: DataSettings, number: int, partitions: int, seed: int
) -> Partition:
    """Load one client's part and hold out some of it, the same in every round.

    Raises:
        DataError: more partitions than examples, or a split so skewed that no draw
            gives every client ``min-partition-size`` examples.

    """
    whole = split(settings, settings.train_split, seed)
    if partitions > len(whole):
        raise DataError(
            f"num-supernodes = {partitions}: {settings.dataset} has {len(whole)} "
            "training examples; expected no more clients than examples"
        )
    try:
        own = federated(settings, partitions, seed).load_partition(number)
    except ValueError as error:
        raise DataError(
            f"min-partition-size = {settings.min_partition_size}: no Dirichlet draw "
            f"with dirichlet-alpha = {settings.dirichlet_alpha:g} gives each of "
            f"{partitions} clients so many of {len(whole)} examples; expected less, or "
            "a larger alpha"
        ) from error
    held_out = int(len(own) * settings.holdout_fraction)
    return Partition(
        train=own.select(range(held_out, len(own))),
        held_out=own.select(range(held_out)),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
