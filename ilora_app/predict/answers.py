"""What a model says of rows, made of its logits: classes, numbers, tags of words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ilora_app.export.places import ReleaseError
from ilora_app.predict.inputs import Row
from ilora_app.settings.kinds import kind


@dataclass(frozen=True)
class Prediction:
    """What a model says of one row.

    Attributes:
        row: as given.
        labels: classes with their probabilities, the likeliest first.
        completion: of a language model.
        number: of a regression.
        tags: of a token classification: words with their tags.

    """

    row: Row
    labels: tuple[tuple[str, float], ...] = ()
    completion: str = ""
    number: float | None = None
    tags: tuple[tuple[str, str], ...] = ()


def read(
    task: str, rows: Sequence[Row], logits: Tensor, names: Sequence[str], top: int
) -> list[Prediction]:
    """Read predictions of whole rows off logits (rows, n).

    Args:
        task: of the model.
        rows: as given.
        logits: of these rows.
        names: of the classes; none of a regression.
        top: classes to name.

    Raises:
        ReleaseError: there are more or fewer classes than names.

    """
    return _BY_WHAT_IS_LEARNED[kind(task).learns](rows, logits.double(), names, top)


def tagged(
    row: Row,
    logits: Tensor,
    names: Sequence[str],
    words: Sequence[str],
    firsts: Sequence[tuple[int, int]],
) -> Prediction:
    """Read the tags of the words of one row off logits (length, tags).

    Args:
        row: as given.
        logits: of its tokens.
        names: of the tags.
        words: of the row.
        firsts: place of the first token of each word, and the number of the word.

    Raises:
        ReleaseError: there are more or fewer tags than names.

    """
    _fit(logits, names)
    ids = logits.argmax(dim=-1).tolist()
    return Prediction(row, tags=tuple((words[w], names[ids[p]]) for p, w in firsts))


def _classes(
    rows: Sequence[Row], logits: Tensor, names: Sequence[str], top: int
) -> list[Prediction]:
    """The likeliest of all classes, of which a row has one."""
    _fit(logits, names)
    return _likeliest(rows, logits.softmax(dim=1), names, top)


def _several(
    rows: Sequence[Row], logits: Tensor, names: Sequence[str], top: int
) -> list[Prediction]:
    """The likeliest classes, each there or not whatever the others are."""
    _fit(logits, names)
    return _likeliest(rows, logits.sigmoid(), names, top)


def _numbers(
    rows: Sequence[Row], logits: Tensor, names: Sequence[str], top: int
) -> list[Prediction]:
    values = logits[:, 0].tolist()
    return [
        Prediction(row, number=value) for row, value in zip(rows, values, strict=True)
    ]


def _likeliest(
    rows: Sequence[Row], chances: Tensor, names: Sequence[str], top: int
) -> list[Prediction]:
    values, ids = chances.topk(min(top, chances.shape[1]), dim=1)
    found = []
    for row, those, some in zip(rows, ids.tolist(), values.tolist(), strict=True):
        named = tuple((names[i], value) for i, value in zip(those, some, strict=True))
        found.append(Prediction(row, named))
    return found


def _fit(logits: Tensor, names: Sequence[str]) -> None:
    classes = logits.shape[-1]
    if classes != len(names):
        raise ReleaseError(f"expected names of {classes} classes, found {len(names)}")


_Read = Callable[[Sequence[Row], Tensor, Sequence[str], int], list[Prediction]]
_BY_WHAT_IS_LEARNED: dict[str, _Read] = {
    "class": _classes,
    "classes": _several,
    "number": _numbers,
}
