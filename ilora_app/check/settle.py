"""Settings that a data set can be run with: those asked for, and keys to add."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import datasets
from datasets import Dataset

from ilora_app.settings import DataSettings, Settings, parsing
from ilora_app.settings.kinds import (
    AUDIO,
    IMAGE,
    IMAGE_TEXT,
    LANGUAGE,
    MULTI_LABEL,
    REGRESSION,
    SEQ2SEQ,
    TAGS,
    TEXT,
    kind,
)
from ilora_app.settings.model import ModelSettings
from ilora_app.tasks import columns, folders, sources, splits
from ilora_app.tasks import data as rows
from ilora_app.tasks.sources import DataError

_MOST_CLASSES = 200
_LOOKED_AT = 5_000


@dataclass(frozen=True)
class Suggestion:
    """A key to add to the run config.

    Attributes:
        key, value: of the run config.
        why: what was found.

    """

    key: str
    value: object
    why: str

    @property
    def text(self) -> str:
        """The value as ``--set`` takes it."""
        return self.value if isinstance(self.value, str) else parsing.shown(self.value)


@dataclass(frozen=True)
class Settled:
    """What a data set can be run with.

    Attributes:
        settings: with the suggestions, and the columns by name.
        asked: with the suggestions, else as given.
        suggestions: keys to add.
        problems: what no key can mend.

    """

    settings: Settings
    asked: Settings
    suggestions: tuple[Suggestion, ...]
    problems: tuple[str, ...]


def settle(settings: Settings, given: frozenset[str]) -> Settled:
    """Find the keys that a data set wants beside those that are given.

    Args:
        settings: as asked for.
        given: keys that were asked for; these are left alone.

    """
    found: list[Suggestion] = []
    seed = settings.run.seed
    try:
        first = _first_rows(settings)
    except DataError as error:
        return Settled(settings, settings, (), (str(error),))
    for one in _task(settings, first, given):
        found.append(one)
        settings = changed(settings, one.key, one.value)
    for one in _columns(settings, first, given):
        found.append(one)
        settings = changed(settings, one.key, one.value)
    task = settings.model.task
    wrong = rows.problems(settings.data, task, seed, read_files=False)
    if wrong:
        return Settled(settings, settings, tuple(found), tuple(wrong))
    named = rows.resolve_columns(settings.data, task, seed)
    label = named.label_column
    by_value = kind(task).learns in ("class", "number")
    if by_value and "drop-unlabelled" not in given:
        missing = _unlabelled(settings, label)
        if missing:
            why = f"{missing} rows have no class"
            found.append(Suggestion("drop-unlabelled", True, why))
            settings = changed(settings, "drop-unlabelled", True)
            named = replace(named, drop_unlabelled=True)
    return Settled(replace(settings, data=named), settings, tuple(found), ())


def changed(settings: Settings, key: str, value: Any) -> Settings:
    """Settings with another value of one key."""
    name = key.replace("-", "_")
    group = next(g for g, values in vars(settings).items() if hasattr(values, name))
    values = replace(getattr(settings, group), **{name: value})
    return replace(settings, **{group: values})


def _first_rows(settings: Settings) -> Dataset:
    """Rows to look at before anything is known of the columns."""
    data = settings.data
    name = data.train_split or data.test_split
    loose = replace(data, drop_unlabelled=False)
    whole = sources.split(loose, name, settings.run.seed)
    return whole.select(range(min(len(whole), _LOOKED_AT)))


def _task(
    settings: Settings, first: Dataset, given: frozenset[str]
) -> Iterator[Suggestion]:
    task = settings.model.task
    if "task" not in given:
        guess, why = _by_files(first)
        guess = guess or _by_labels(first) or _by_names(first) or task
        if guess != task:
            task = guess
            yield Suggestion("task", task, why or "by its columns")
    other = kind(task).model
    if other and settings.model.model == ModelSettings().model:
        why = "the default reads texts; this is one of the hub, a folder does too"
        yield Suggestion("model", other, why)


def _by_files(first: Dataset) -> tuple[str, str]:
    """Task of a set whose schema has images or audio, and why."""
    for kind_of, files in ((datasets.Image, "images"), (datasets.Audio, "recordings")):
        named = [n for n, one in first.features.items() if isinstance(one, kind_of)]
        if not named:
            continue
        why = f"the column {named[0]} holds {files}"
        if files == "recordings":
            return AUDIO, why
        data = DataSettings(partitioner="iid")
        found, _ = columns.find(data, IMAGE_TEXT, first.features)
        if not found.text_columns:
            return IMAGE, why
        return IMAGE_TEXT, f"{why}, {found.text_columns} a text beside each"
    return "", ""


def _by_labels(first: Dataset) -> str:
    """Task of a set whose label column holds lists, or fractions."""
    data = DataSettings(partitioner="iid")
    for task in (TAGS, MULTI_LABEL, REGRESSION):
        found, missing = columns.find(data, task, first.features)
        if missing:
            continue
        label, texts = found.label_column, found.text_columns
        listed = splits.is_list(first, label)
        if task == TAGS and listed and splits.is_list(first, texts):
            return task
        if task == MULTI_LABEL and listed:
            return task
        if task == REGRESSION and not listed and _has_fractions(first, label):
            return task
    return ""


def _by_names(first: Dataset) -> str:
    """Task of a set by the names of its columns.

    A text alone is for a language model, unless some other column looks like a class.
    """
    data = DataSettings(partitioner="iid")
    found = {
        task: columns.find(data, task, first.features)
        for task in (TEXT, IMAGE, LANGUAGE, SEQ2SEQ)
    }
    fits = [task for task, (_, missing) in found.items() if not missing]
    chosen = found[LANGUAGE][0]
    alone = LANGUAGE in fits and not chosen.answer_column
    if alone and not columns.is_list_of(first.features[chosen.text_columns]):
        fits = [t for t in fits if t != LANGUAGE or not _few_values(first)]
        fits.sort(key=lambda t: t == LANGUAGE)
    return (fits or [""])[0]


def _has_fractions(first: Dataset, column: str) -> bool:
    kind_of = str(getattr(first.features[column], "dtype", ""))
    values = first[column] if "float" in kind_of else ()
    return any(v is not None and math.isfinite(v) and v != int(v) for v in values)


def _columns(
    settings: Settings, first: Dataset, given: frozenset[str]
) -> Iterator[Suggestion]:
    """Columns that no usual name gives away, by what they hold."""
    task, data = settings.model.task, settings.data
    by_name = columns.find(replace(data, partitioner="iid"), task, first.features)[0]
    label = by_name.label_column
    if kind(task).one_class and label not in first.column_names:
        label = "" if "label-column" in given else _few_values(first)
        if label:
            number = len(first.unique(label))
            why = f"it has {number} different values in {len(first)} rows"
            yield Suggestion("label-column", label, why)
    no_text = not by_name.text_columns and "text-columns" not in given
    if task == TEXT and no_text and (text := _longest_texts(first, label)):
        yield Suggestion("text-columns", text, "it has the longest texts")


def _few_values(first: Dataset) -> str:
    """Column of the fewest different values, two at least and each often there."""
    numbers = {}
    for name, feature in first.features.items():
        plain = isinstance(feature, datasets.ClassLabel | datasets.Value)
        if not plain or "float" in str(feature.dtype):
            continue
        number = len(first.unique(name))
        if 2 <= number <= min(_MOST_CLASSES, len(first) // 4):
            numbers[name] = number
    return min(numbers, key=lambda name: numbers[name], default="")


def _longest_texts(first: Dataset, label: str) -> str:
    sizes = {
        name: sum(len(text or "") for text in texts)
        for name, texts in folders.texts_of(first, len(first)).items()
        if name != label
    }
    return max(sizes, key=lambda name: sizes[name], default="")


def _unlabelled(settings: Settings, label: str) -> int:
    """Rows without a class, of splits that have rows with one."""
    data, seed = settings.data, settings.run.seed
    number = 0
    for name in filter(None, (data.train_split, data.test_split)):
        part = sources.split(data, name, seed)
        kept = len(splits.labelled(part, label))
        number += len(part) - kept if kept else 0
    return number
