"""Metrics of the tasks, added up batch by batch."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

IGNORED = -100
"""Label of a token that the loss leaves out, as transformers has it."""


class ClassScores:
    """Mean loss, accuracy, and macro F1 over the classes that occur."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._found: list[int] = []
        self._right: list[int] = []

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in logits of shape (batch, classes) and labels of shape (batch,)."""
        self._loss += float(output.loss) * len(labels)
        self._found += output.logits.argmax(dim=-1).tolist()
        self._right += labels.tolist()

    @property
    def hits(self) -> list[bool]:
        """Which examples were told, in the order in which they came."""
        return [a == b for a, b in zip(self._found, self._right, strict=True)]

    @property
    def told(self) -> tuple[list[int], list[int]]:
        """Class ids of the examples, and those that they were taken for."""
        return self._right, self._found

    @property
    def only_class(self) -> int | None:
        """The class that every example was taken for; None where there were several."""
        found = set(self._found)
        return found.pop() if len(found) == 1 and len(self._found) > 1 else None

    def result(self) -> dict[str, float]:
        """Loss in nats an example, accuracy, f1."""
        return {
            "loss": self._loss / len(self._right),
            "accuracy": sum(self.hits) / len(self._right),
            "f1": _macro_f1(self._right, self._found),
        }


def _macro_f1(right: list[int], found: list[int]) -> float:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that occur, as scikit-learn has.

    Its own takes as long as a batch of a small model, and seconds to import.
    """
    size = max(right + found) + 1
    there, told = (np.bincount(ids, minlength=size) for ids in (right, found))
    hits = [a for a, b in zip(right, found, strict=True) if a == b]
    both = there + told
    f1 = 2 * np.bincount(np.asarray(hits, int), minlength=size)[both > 0]
    return float(np.mean(f1 / both[both > 0]))


class TokenScores:
    r"""Mean loss over the answers' tokens, accuracy over them, and perplexity.

    perplexity = exp(mean loss); a token counts as right where it is the likeliest one
    after the true tokens before it.

    Args:
        ahead: places from the logits of a token to the token; a decoder that is fed
            the answer moved by one has them at the same place.

    """

    def __init__(self, ahead: int = 1) -> None:
        self._ahead = ahead
        self._loss = 0.0
        self._correct, self._tokens = 0, 0

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in logits (batch, length, vocabulary) and labels (batch, length)."""
        after = labels[:, self._ahead :]
        counted = after != IGNORED
        tokens = int(counted.sum())
        hits = output.logits[:, : after.shape[1]].argmax(dim=-1) == after
        if tokens:  # the mean over none is no number
            self._loss += float(output.loss) * tokens
        self._correct += int(torch.logical_and(hits, counted).sum())
        self._tokens += tokens

    def result(self) -> dict[str, float]:
        """Loss in nats a token, accuracy, perplexity."""
        tokens = max(self._tokens, 1)
        loss = self._loss / tokens
        return {
            "loss": loss,
            "accuracy": self._correct / tokens,
            "perplexity": math.exp(min(loss, 700.0)),
        }
