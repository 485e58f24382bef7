"""What every task turns rows into: examples that give batches, and their scores."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


class Scores(Protocol):
    """Adds up what an evaluation finds, batch by batch."""

    def add(self, output: Any, labels: Tensor) -> None:
        """Take in the output of the model for a batch."""

    def result(self) -> dict[str, float]:
        """Metrics over everything taken in, by name."""


class Examples(ABC):
    """Examples in a fixed order."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the examples."""

    @property
    def count(self) -> int:
        """Rows of the data behind them: n_k. Packed ones are several of these."""
        return len(self)

    @abstractmethod
    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Make the tensors of some examples; with a generator, augmented by it."""

    @abstractmethod
    def scores(self) -> Scores:
        """Start adding up the metrics of this task."""

    @property
    def one_each(self) -> bool:
        """Whether a row of the data is one example, whatever it holds."""
        return True

    @property
    def augmented(self) -> bool:
        """Whether an example is another one each time it is drawn for training."""
        return False

    @property
    def alone(self) -> bool:
        """Whether what a model makes of one hangs on no other of its batch."""
        return True

    def ready(self) -> bool:
        """Do now what is otherwise done at the first batch."""
        return True

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """What fills up a shorter row of a batch, by key, and whether on the left."""
        return {}

    def order(self) -> list[int]:
        """Order of evaluation: whatever makes it cheap."""
        return list(range(len(self)))

    def weight(self, batch: Batch) -> int:
        """Terms that the mean loss of a batch is taken over."""
        return len(batch["labels"])

    def drawn(
        self, size: int, steps: int, epochs: int, generator: torch.Generator
    ) -> Iterator[list[int]]:
        """Indices of shuffled batches: ``steps``, or ``epochs`` epochs where it is 0.

        A batch never holds an example twice: each epoch is a new shuffle, and its
        last batch may be smaller.
        """
        per_epoch = -(-len(self) // size)
        total = steps or epochs * per_epoch
        done = 0
        while done < total:
            order = torch.randperm(len(self), generator=generator).tolist()
            for start in range(0, len(order), size):
                if done == total:
                    return
                yield order[start : start + size]
                done += 1

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples once, in the order of evaluation."""
        order = self.order()
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


def lengthened(part: Tensor, length: int, value: int, left: bool) -> Tensor:
    """Fill rows up, (rows, n, ...) to (rows, length, ...), as ``blanks`` says."""
    missing = length - part.shape[1]
    sides = (missing, 0) if left else (0, missing)
    inner = (0, 0) * (part.dim() - 2)  # pad takes the last dimension first
    return nn.functional.pad(part, inner + sides, value=value)
