"""Data of a node and of the server: its part, its held-out part, the test split."""

from dataclasses import dataclass
from functools import cache

from datasets import Dataset, Features

from ilora_app.settings import DataSettings
from ilora_app.settings.kinds import TEXT, kind
from ilora_app.tasks import (
    columns,
    deal_column,
    files,
    labels,
    prompt_template,
    sources,
)
from ilora_app.tasks.sources import DataError, split


@dataclass(frozen=True)
class Partition:
    """One client's examples: for training, and held out for its own evaluation."""

    train: Dataset
    held_out: Dataset


@cache
def resolve_columns(settings: DataSettings, task: str, seed: int) -> DataSettings:
    """Fill in the names of the columns, from the training split.

    Raises:
        DataError: the set cannot be loaded, or lacks a column.

    """
    name = settings.train_split or settings.test_split
    features = split(settings, name, seed).features
    return _found(settings, task, features)


@cache
def resolve_own_columns(settings: DataSettings, task: str, seed: int) -> DataSettings:
    """Fill in the names of the columns of a node's own folder.

    Raises:
        DataError: the folder cannot be loaded, or lacks a column.

    """
    features = sources.only_split(settings, seed).features
    return _found(settings, task, features)


def test_rows(settings: DataSettings, seed: int) -> Dataset:
    """Load the test split, or ``test-examples`` of it."""
    rows = split(settings, settings.test_split, seed)
    wanted = settings.test_examples or len(rows)
    return rows.select(range(min(wanted, len(rows))))


def problems(
    settings: DataSettings, task: str, seed: int, read_files: bool = True
) -> list[str]:
    """Every mistake in splits, columns, and images or recordings of the test split."""
    wrong: list[str] = []
    for name in filter(None, (settings.train_split, settings.test_split)):
        try:
            loaded = split(settings, name, seed)
        except DataError as error:
            wrong.append(str(error))
            if not str(error).startswith(("train-split", "test-split")):
                return wrong  # the set itself: asking the hub again takes long
            continue
        if len(loaded) == 0:
            wrong.append(f"dataset = {settings.dataset!r}: the split {name} is empty")
            continue
        chosen, missing = columns.find(
            settings, task, loaded.features, dealt=name == settings.train_split
        )
        wrong += missing
        # Of rows without a class in the label column more is said with its classes.
        by_class = kind(task).one_class and chosen.partition_by == chosen.label_column
        if name == settings.train_split and not missing and not by_class:
            try:
                deal_column.check(split(chosen, name, seed), chosen)
            except DataError as error:
                wrong.append(str(error))
        if kind(task).writes:
            wrong += prompt_template.problems(settings, loaded.column_names)
        # Of the training files every node looks at its own.
        if name == settings.test_split and read_files and not missing:
            wrong += files.unreadable(loaded, chosen, task, f"the split {name}")
    if not wrong:
        wrong += sources.overlap(settings)
    return list(dict.fromkeys(wrong))


def partition(settings: DataSettings, number: int, of: int, seed: int) -> Partition:
    """Load one client's part and hold out some of it, the same in every round.

    Raises:
        DataError: the split cannot be dealt out so.

    """
    # A node with data of its own spares itself these seconds of imports.
    from ilora_app.tasks import partitions

    return _held_apart(partitions.load(settings, number, of, seed), settings)


def own_partition(settings: DataSettings, seed: int, task: str = TEXT) -> Partition:
    """Load a node's own folder, whole, and hold out some of it.

    Args:
        settings: with the columns by name.
        seed: of the order of the rows.
        task: which columns are read.

    Raises:
        DataError: the folder has no rows, or rows without a class.

    """
    rows = sources.only_split(settings, seed)
    where = settings.dataset
    if len(rows) == 0:
        raise DataError(f"{where} holds no examples", "it holds no examples")
    if settings.label_column and kind(task).learns != "classes":
        labels.unlabelled(rows, settings.label_column, where)
    return _held_apart(rows, settings)


def _held_apart(rows: Dataset, settings: DataSettings) -> Partition:
    held_out = int(len(rows) * settings.holdout_fraction)
    return Partition(
        train=rows.select(range(held_out, len(rows))),
        held_out=rows.select(range(held_out)),
    )


def _found(settings: DataSettings, task: str, features: Features) -> DataSettings:
    chosen, missing = columns.find(settings, task, features)
    if kind(task).writes:
        missing += prompt_template.problems(settings, list(features))
    if missing:
        keys = ", ".join(problem.partition(" = ")[0] for problem in missing)
        raise DataError("\n".join(missing), f"{keys}: no such column in its data")
    return chosen
