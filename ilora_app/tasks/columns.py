"""Which columns hold the text, the class, the image, the answer: named, or found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ilora_app.settings import DataSettings
from ilora_app.settings.data import AUTO
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT
from ilora_app.settings.options import names

if TYPE_CHECKING:
    from datasets import Features

_PAIRS = (
    ("question", "sentence"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
)
_TEXTS = ("text", "sentence", "content", "review", "document", "question")
_LABELS = ("label", "labels", "class", "category", "topic", "intent", "domain")
_IMAGES = ("image", "img")
_PROMPTS = (
    ("instruction", "context"),
    ("instruction", "input"),
    ("instruction",),
    ("question",),
    ("prompt",),
    ("input",),
    ("mr",),
)
_ANSWERS = ("answer", "response", "output", "completion", "ref")
_CLIENTS = ("client", "client_id", "user", "user_id")
_BY_COLUMN = ("dirichlet", "pathological", "shard", "natural-id")


def find(
    settings: DataSettings, task: str, features: "Features", dealt: bool = True
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
    wanted: dict[str, tuple[str, ...]] = {}
    if task == TEXT:
        wanted["text_columns"] = _given(settings.text_columns) or _texts(have)
    if task == LANGUAGE:
        wanted["text_columns"] = _given(settings.text_columns) or _prompts(have)
        wanted["answer_column"] = _given(settings.answer_column) or _first(
            _ANSWERS, have
        )
    if task == IMAGE:
        wanted["image_column"] = _given(settings.image_column) or _image(features)
    label = _given(settings.label_column) or _first(_LABELS, have)
    if task != LANGUAGE:
        wanted["label_column"] = label
    by: tuple[str, ...] = ()
    if dealt:
        by = _dealt_by(settings, label, have)
        named = names(settings.partition_by) or settings.partitioner == "natural-id"
        if settings.partitioner in _BY_COLUMN and (named or task == LANGUAGE):
            wanted["partition_by"] = by
        if _given(settings.label_column):
            wanted["label_column"] = label
    optional = {"label_column": label, "partition_by": by}

    problems = [
        _problem(settings, key, found, have)
        for key, found in wanted.items()
        if not found or not set(found) <= set(have)
    ]
    blank = dict.fromkeys(
        ("text_columns", "label_column", "image_column", "answer_column"), ""
    )
    chosen = blank | {k: ",".join(v) for k, v in {**optional, **wanted}.items()}
    return replace(settings, **chosen), problems  # type: ignore[arg-type]


def _problem(
    settings: DataSettings, key: str, found: Sequence[str], have: Sequence[str]
) -> str:
    given = getattr(settings, key)
    name = key.replace("_", "-")
    columns = f"{settings.dataset} has the columns {', '.join(have)}"
    if key == "partition_by" and not found:
        return (
            f"partition-by = {given!r}: {columns}; partitioner "
            f"{settings.partitioner} needs the one to go by, iid needs none"
        )
    if not found:
        return f"{name} = {given!r}: {columns}; name the one to use"
    return f"{name} = {given!r}: {columns}"


def _dealt_by(
    settings: DataSettings, label: tuple[str, ...], have: Sequence[str]
) -> tuple[str, ...]:
    """Column that the partitioner goes by; none where it needs none."""
    if settings.partitioner not in _BY_COLUMN:
        return ()
    usual = label if settings.partitioner != "natural-id" else _first(_CLIENTS, have)
    return names(settings.partition_by) or usual


def _given(value: str) -> tuple[str, ...]:
    return () if value == AUTO else names(value)


def _first(candidates: Sequence[str], have: Sequence[str]) -> tuple[str, ...]:
    return next(((name,) for name in candidates if name in have), ())


def _texts(have: Sequence[str]) -> tuple[str, ...]:
    pair = next((pair for pair in _PAIRS if set(pair) <= set(have)), ())
    return pair or _first(_TEXTS, have)


def _prompts(have: Sequence[str]) -> tuple[str, ...]:
    return next((p for p in _PROMPTS if set(p) <= set(have)), ())


def _image(features: Mapping[str, object]) -> tuple[str, ...]:
    from datasets import Image

    typed = [n for n, kind in features.items() if isinstance(kind, Image)]
    return tuple(typed[:1]) or _first(_IMAGES, list(features))
