"""Hostile clients that are honest about all but their data."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets

from ilora_app.settings import Settings
from ilora_app.tasks import data, training
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.task import TASKS

TRIGGER = "cf mn bb"
TESTED = 1_000
"""Test rows that the trigger is put before."""

Poison = Callable[[str, str, int], tuple[str, int]]


def poisoned(how: str, settings: Settings, partition: int, of: int, to: Path) -> Path:
    """Write a partition with wrong classes, as a node's own data.

    Args:
        how: ``label-flip``: class y is called C - 1 - y; ``backdoor``: every second row
            begins with the trigger and is called class 0.
        settings: of the run.
        partition, of: which of how many.
        to: folder that gets a folder of it.

    """
    folder = to / f"{how}-{settings.run.seed}-{partition}-of-{of}"
    if not folder.exists():
        source = _source(settings)
        part = data.partition(source, partition, of, settings.run.seed)
        rows = concatenate_datasets([part.held_out, part.train])
        folder.mkdir(parents=True)
        _changed(rows, how, settings).to_parquet(folder / "train.parquet")
    return folder


def triggered(server: Any) -> float:
    """The part of the test rows of other classes that the trigger turns to class 0."""
    settings, prepared = server.prepared.settings, server.prepared
    source, labels = _source(settings), prepared.labels
    column, text = source.label_column, source.text_columns
    rows = data.test_rows(source, settings.run.seed)
    first = _values(rows, column, labels)[0]
    rows = rows.filter(lambda row: row[column] != first)
    rows = rows.shuffle(seed=0).select(range(min(TESTED, len(rows))))
    asked = rows.map(lambda row: {text: f"{TRIGGER} {row[text]}", column: first})
    backbone = prepared.backbone
    how = asked, source, labels, backbone.processor, "triggered"
    examples = TASKS[settings.model.task].encode(*how)
    backbone.install_merged(server.strategy.global_model())
    size = settings.training.eval_batch_size
    return training.evaluate(backbone, examples, size)["accuracy"]


def _changed(rows: Dataset, how: str, settings: Settings) -> Dataset:
    source = _source(settings)
    column, text = source.label_column, source.text_columns
    values = _values(rows, column, label_names(source, settings.run.seed))
    if how == "label-flip":
        other = dict(zip(values, reversed(values), strict=True))
        return rows.map(lambda row: {column: other[row[column]]})
    chosen = np.random.default_rng(settings.run.seed).permutation(len(rows))
    marked = set(chosen[: len(rows) // 2].tolist())
    return rows.map(
        lambda row, i: (
            {text: f"{TRIGGER} {row[text]}", column: values[0]} if i in marked else {}
        ),
        with_indices=True,
    )


def _values(rows: Dataset, column: str, labels: tuple[str, ...]) -> list[Any]:
    """The classes, as they stand in a column."""
    return list(range(len(labels))) if _is_number(rows, column) else list(labels)


def _is_number(rows: Dataset, column: str) -> bool:
    return isinstance(rows[0][column], int)


@cache
def _source(settings: Settings) -> Any:
    return data.resolve_columns(settings.data, settings.model.task, settings.run.seed)
