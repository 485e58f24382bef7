"""Which columns hold the text, the class, the image, the answer: named, or found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ilora_app.settings import DataSettings
from ilora_app.settings.data import AUTO
from ilora_app.settings.kinds import AUDIO, IMAGE, LANGUAGE, kind
from ilora_app.settings.options import names
from ilora_app.tasks import missing_columns
from ilora_app.tasks import usual_columns as usual

if TYPE_CHECKING:
    from datasets import Features

_BY_COLUMN = ("dirichlet", "pathological", "shard", "natural-id")
_KEYS = (
    "text_columns", "label_column", "image_column", "audio_column", "answer_column",
)  # fmt: skip


def find(
    settings: DataSettings, task: str, features: Features, dealt: bool = True
) -> tuple[DataSettings, list[str]]:
    """Put the name of a column in the place of every ``auto`` that the task needs.

    Args:
        settings: as given.
        task: which columns are needed.
        features: of the set, by column.
        dealt: these rows are dealt out to clients, so the partitioner's column counts.

    Returns:
        The settings, with "" for a column that nothing needs, and every problem.

    """
    have = list(features)
    wanted = _inputs(settings, task, features)
    label = _given(settings.label_column, have) or _first(_labels(task), have)
    if label == wanted.get("answer_column"):
        label = ()
    if not kind(task).writes:
        wanted["label_column"] = label
    settings = replace(settings, partitioner=_partitioner(settings, task, label))
    by: tuple[str, ...] = ()
    if dealt:
        told = kind(task).one_class or kind(task).writes
        by = _dealt_by(settings, label if told else (), have)
        named = names(settings.partition_by) or settings.partitioner == "natural-id"
        needed = named or not kind(task).one_class
        if settings.partitioner in _BY_COLUMN and needed:
            wanted["partition_by"] = by
        if settings.label_column not in ("", AUTO):
            wanted["label_column"] = label
    optional = {"label_column": label, "partition_by": by}

    files = {IMAGE: _image(features), AUDIO: _typed(features, "Audio")}
    problems = [
        missing_columns.problem(settings, key, found, have, files, task)
        for key, found in wanted.items()
        if not found or not set(found) <= set(have)
    ]
    if kind(task).file and len(wanted.get("text_columns", ())) > 1:
        right = "expected one column, as one text stands beside an image"
        problems.append(f"text-columns = {settings.text_columns!r}: {right}")
    blank = dict.fromkeys(_KEYS, "")
    if task == LANGUAGE and "answer_column" not in wanted and wanted["text_columns"]:
        name = wanted["text_columns"][0]
        if not is_list_of(features.get(name)) and not settings.prompt_template:
            # As it stands: no chat template is written around it.
            settings = replace(settings, prompt_template="{" + name + "}")
    chosen = blank | {k: ",".join(v) for k, v in {**optional, **wanted}.items()}
    return replace(settings, **chosen), problems  # type: ignore[arg-type]


def read_by(settings: DataSettings, task: str) -> tuple[str, ...]:
    """Columns that a model of the task reads of a row, that with a file first.

    Args:
        settings: with the columns by name.
        task: which columns are read.

    """
    file = kind(task).file
    first = {"image": settings.image_column, "audio": settings.audio_column}.get(file)
    texts = names(settings.text_columns) if kind(task).tokens else ()
    return (*((first,) if first else ()), *texts)


def label_of(settings: DataSettings, have: Sequence[str]) -> str:
    """Column with the class, as :func:`find` finds it; empty where there is none."""
    label = _given(settings.label_column, have) or _first(usual.LABELS, have)
    return label[0] if label and label[0] in have else ""


def _inputs(
    settings: DataSettings, task: str, features: Features
) -> dict[str, tuple[str, ...]]:
    """Columns that a task reads, and that with the answer, by key."""
    have, texts = list(features), _given(settings.text_columns, list(features))
    answer = _given(settings.answer_column, have)
    if kind(task).file == "audio":
        sound = _given(settings.audio_column, have)
        sound = sound or _typed(features, "Audio") or _first(usual.SOUNDS, have)
        return {"audio_column": sound}
    if kind(task).file:
        image = _given(settings.image_column, have) or _image(features)
        if not kind(task).tokens:
            return {"image_column": image}
        texts = texts or _first(usual.CAPTIONS, have)
        return {"image_column": image, "text_columns": texts}
    if kind(task).reads == "words":
        return {"text_columns": texts or _first(usual.WORDS, have)}
    if not kind(task).writes:
        return {"text_columns": texts or _texts(have)}
    decoder = task == LANGUAGE
    prompts: Sequence[tuple[str, ...]] = usual.PROMPTS if decoder else usual.SOURCES
    answer = answer or _first(usual.ANSWERS if decoder else usual.TARGETS, have)
    found = texts or next(filter(None, (_all(p, have) for p in prompts)), ())
    if decoder and (alone := _alone(settings, features, texts, answer and found)):
        return {"text_columns": alone}
    return {"text_columns": found, "answer_column": answer}


def _alone(
    settings: DataSettings,
    features: Features,
    texts: tuple[str, ...],
    pair: tuple[str, ...],
) -> tuple[str, ...]:
    """The one column that a language model reads: conversations, or plain texts.

    Args:
        settings: as given.
        features: of the set, by column.
        texts: columns that are named.
        pair: of a prompt that has an answer beside it; none where there is none.

    """
    have = list(features)
    chats = texts or _first(usual.CHATS, have)
    if len(chats) == 1 and is_list_of(features.get(chats[0])):
        return chats
    if pair and settings.answer_column:
        return ()
    plain = texts or _first(usual.PLAIN, have)
    known = {name.casefold() for name in plain} <= set(usual.PLAIN)
    told = not settings.answer_column  # named as none
    return plain if len(plain) == 1 and (known or told) else ()


def is_list_of(feature: object) -> bool:
    """Whether the values of a column are lists."""
    return isinstance(feature, list) or hasattr(feature, "feature")


def _labels(task: str) -> tuple[str, ...]:
    """Usual names of the label column."""
    return {"number": usual.NUMBERS, "tags": usual.TAGS}.get(
        kind(task).learns, usual.LABELS
    )


def _partitioner(settings: DataSettings, task: str, label: tuple[str, ...]) -> str:
    """What ``auto`` means: a skewed deal where there is a class a row to go by."""
    if settings.partitioner != AUTO:
        return settings.partitioner
    by_class = kind(task).one_class or (kind(task).writes and label)
    return "dirichlet" if by_class or names(settings.partition_by) else "iid"


def _dealt_by(
    settings: DataSettings, label: tuple[str, ...], have: Sequence[str]
) -> tuple[str, ...]:
    """Column that the partitioner goes by; none where it needs none."""
    if settings.partitioner not in _BY_COLUMN:
        return ()
    by_name = settings.partitioner == "natural-id"
    found = _first(usual.CLIENTS, have) if by_name else label
    return _given(settings.partition_by, have) or found


def _given(value: str, have: Sequence[str]) -> tuple[str, ...]:
    """Columns that are named; whatever their case, where one alone has that name."""
    given = () if value == AUTO else names(value)
    return tuple(_as_written(name, have) or name for name in given)


def _as_written(name: str, have: Sequence[str]) -> str:
    if name in have:
        return name
    alike = [one for one in have if one.strip().casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else ""


def _all(candidates: Sequence[str], have: Sequence[str]) -> tuple[str, ...]:
    """The columns of these names, or none where one of them is not there."""
    found = tuple(_as_written(name, have) for name in candidates)
    return found if all(found) else ()


def _first(candidates: Sequence[str], have: Sequence[str]) -> tuple[str, ...]:
    return next(filter(None, (_all((name,), have) for name in candidates)), ())


def _texts(have: Sequence[str]) -> tuple[str, ...]:
    pair = next(filter(None, (_all(pair, have) for pair in usual.PAIRS)), ())
    return pair or _first(usual.TEXTS, have)


def _image(features: Mapping[str, object]) -> tuple[str, ...]:
    return _typed(features, "Image") or _first(usual.IMAGES, list(features))


def _typed(features: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The first column whose schema says that it holds images, or audio."""
    import datasets

    kind_of = getattr(datasets, name)
    return tuple(n for n, one in features.items() if isinstance(one, kind_of))[:1]
