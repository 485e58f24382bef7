"""Losses of a task row by row, as its models have them in the mean over a batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ilora_app.settings.kinds import LANGUAGE, SEQ2SEQ, kind
from ilora_app.tasks.metrics import IGNORED

RowTerms = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits and labels -> terms (rows, n), and which of them count: their mean is the loss
of the model."""


def row_terms(task: str) -> RowTerms:
    """Terms of the loss of a task."""
    by_task = {LANGUAGE: _next_tokens, SEQ2SEQ: _tokens}
    return by_task.get(task) or _BY_WHAT_IS_LEARNED[kind(task).learns]


def unlearned(dtype: torch.dtype) -> float:
    """Label of which nothing is learned."""
    return float("nan") if dtype.is_floating_point else IGNORED


def _class(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(label): logits (rows, C), labels (rows,)."""
    terms = functional.cross_entropy(
        logits, labels, ignore_index=IGNORED, reduction="none"
    )
    return terms[:, None], (labels != IGNORED)[:, None]


def _tokens(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(label) of each token: logits (rows, length, C), labels (rows, length)."""
    terms = functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return terms, labels != IGNORED


def _next_tokens(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """As of tokens, each after those before it."""
    return _tokens(logits[:, :-1], labels[:, 1:])


def _classes(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """-y log p - (1 - y) log(1 - p) of each class: logits and labels (rows, C)."""
    there = ~labels.isnan()
    terms = functional.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num().to(logits.dtype), reduction="none"
    )
    return terms * there, there


def _number(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(y - f)^2: logits (rows, 1), labels (rows,)."""
    there = ~labels.isnan()
    terms = (logits[:, 0] - labels.nan_to_num().to(logits.dtype)).square()
    return (terms * there)[:, None], there[:, None]


_BY_WHAT_IS_LEARNED: dict[str, RowTerms] = {
    "class": _class,
    "classes": _classes,
    "tags": _tokens,
    "number": _number,
}
