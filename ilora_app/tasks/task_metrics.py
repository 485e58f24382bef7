"""Metrics of tasks that have not one class a row, added up batch by batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.tasks.metrics import IGNORED


class MultiLabelScores:
    """Mean loss over rows and classes, accuracy, micro and macro F1.

    A class is taken for there where its logit is above 0, so its probability above a
    half. A row counts as right where all its classes are; micro F1 counts all
    decisions as one, macro F1 is the mean over the classes (0 for one that is never
    there nor taken for there).
    """

    def __init__(self) -> None:
        self._loss = 0.0
        self._found: list[Tensor] = []
        self._right: list[Tensor] = []

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in logits and labels, 0.0 or 1.0: both (batch, classes)."""
        self._loss += float(output.loss) * len(labels)
        self._found.append((output.logits > 0).cpu())
        self._right.append((labels > 0.5).cpu())

    def result(self) -> dict[str, float]:
        """Loss in nats a decision, accuracy, micro_f1, macro_f1."""
        from sklearn.metrics import f1_score  # seconds that training does not need

        found, right = torch.cat(self._found), torch.cat(self._right)
        f1 = {
            kind: float(
                f1_score(right.numpy(), found.numpy(), average=kind, zero_division=0.0)
            )
            for kind in ("micro", "macro")
        }
        return {
            "loss": self._loss / len(right),
            "accuracy": float((found == right).all(dim=1).float().mean()),
            "micro_f1": f1["micro"],
            "macro_f1": f1["macro"],
        }


class NumberScores:
    """Mean squared error, and Spearman's rank correlation.

    The correlation is left out where it is not defined: the numbers, or what the model
    says, are all the same.
    """

    def __init__(self) -> None:
        self._found: list[float] = []
        self._right: list[float] = []

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in logits of shape (batch, 1) and numbers of shape (batch,)."""
        self._found += output.logits[:, 0].double().tolist()
        self._right += labels.double().tolist()

    def result(self) -> dict[str, float]:
        """Loss, which is the mean squared error, and spearman."""
        from scipy.stats import spearmanr  # seconds that training does not need

        pairs = list(zip(self._found, self._right, strict=True))
        found = {"loss": sum((a - b) ** 2 for a, b in pairs) / len(pairs)}
        if len(set(self._found)) > 1 and len(set(self._right)) > 1:
            found["spearman"] = float(spearmanr(self._found, self._right).statistic)
        return found


class TagScores:
    """Mean loss over words, accuracy over them, and F1 of entities.

    F1 is nervaluate's ``strict``, micro over the entities, of the same kind and from
    the same word to the same, where the tags are of the IOB kind (B-PER, I-PER, O);
    other tags have none.

    Args:
        tags: by id.

    """

    def __init__(self, tags: Sequence[str]) -> None:
        self._tags = tags
        self._loss, self._words = 0.0, 0
        self._found: list[list[str]] = []
        self._right: list[list[str]] = []

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in logits (batch, length, tags) and labels (batch, length)."""
        there = labels != IGNORED
        words = int(there.sum())
        if words:  # the mean over none is no number
            self._loss += float(output.loss) * words
        self._words += words
        ids = output.logits.argmax(dim=-1)
        for row, right, counted in zip(ids, labels, there, strict=True):
            self._found.append([self._tags[i] for i in row[counted].tolist()])
            self._right.append([self._tags[i] for i in right[counted].tolist()])

    def result(self) -> dict[str, float]:
        """Loss in nats a word, accuracy, f1."""
        hits = sum(
            a == b
            for found, right in zip(self._found, self._right, strict=True)
            for a, b in zip(found, right, strict=True)
        )
        result = {
            "loss": self._loss / max(self._words, 1),
            "accuracy": hits / max(self._words, 1),
        }
        if all(tag == "O" or tag[:2] in ("B-", "I-") for tag in self._tags):
            from nervaluate import Evaluator

            kinds = sorted({tag[2:] for tag in self._tags if tag != "O"})
            scored = Evaluator(self._right, self._found, tags=kinds, loader="list")
            result["f1"] = float(scored.evaluate()["overall"]["strict"].f1)
        return result
