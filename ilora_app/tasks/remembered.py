"""Examples with what the frozen layers compute of them, kept after the first time."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples, Scores
from ilora_app.tasks.frozen_layers import BELOW, FrozenLayers

_AT_ONCE = 64
"""Examples of one pass. One number for all, so that the last bit depends on nothing."""


def remembered(examples: Examples, backbone: Backbone) -> Examples:
    """Have examples remember what the frozen layers make of them, where there are any.

    Args:
        examples: of its task.
        backbone: with ``activation-cache`` in its settings, megabytes for each set.

    """
    frozen = backbone.frozen
    if frozen is None or not backbone.settings.activation_cache or not len(examples):
        return examples
    return RememberedExamples(examples, backbone, frozen)


def plain(examples: Examples) -> Examples:
    """The examples themselves."""
    return examples.inner if isinstance(examples, RememberedExamples) else examples


class RememberedExamples(Examples):
    """Gives batches that carry what comes out of the frozen layers.

    All of it is computed at the first batch, in the order of evaluation: so an
    example's is the same to the last bit whenever it is asked for.

    Args:
        inner: the examples.
        backbone: it computes them.
        frozen: its frozen layers.

    """

    def __init__(
        self, inner: Examples, backbone: Backbone, frozen: FrozenLayers
    ) -> None:
        self.inner, self._backbone, self._frozen = inner, backbone, frozen
        self._most = backbone.settings.activation_cache * 1e6
        self._kept: list[Tensor] | None = None  # (length, width) of each example
        self._tried = False

    def __len__(self) -> int:
        return len(self.inner)

    @property
    def count(self) -> int:
        """As of the examples."""
        return self.inner.count

    @property
    def one_each(self) -> bool:
        """As of the examples."""
        return self.inner.one_each

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Make the tensors of some examples; with a generator, for training."""
        made = self.inner.batch(indices, generator)
        random = self.inner.augmented or self._frozen.random
        if (random and generator is not None) or not self.ready():
            return made
        assert self._kept is not None
        kept = [self._kept[i] for i in indices]
        longest = max(len(rows) for rows in kept)
        whole = kept[0].new_zeros(len(kept), longest, kept[0].shape[1])
        for row, rows in zip(whole, kept, strict=True):
            row[-len(rows) if self._left else 0 :][: len(rows)] = rows
        return {**made, BELOW: whole}

    def ready(self) -> bool:
        """Compute what is to be kept, unless that was done; whether anything is."""
        if not self._tried:
            self._tried = True
            self._kept = self._computed()
        return self._kept is not None

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As of the examples; what is kept is filled up on the side of the tokens."""
        return {**self.inner.blanks(), BELOW: (0, self._left)}

    def order(self) -> list[int]:
        """As of the examples."""
        return self.inner.order()

    def weight(self, batch: Batch) -> int:
        """As of the examples."""
        return self.inner.weight(batch)

    def scores(self) -> Scores:
        """As of the examples."""
        return self.inner.scores()

    @property
    def _left(self) -> bool:
        return self.inner.blanks().get("attention_mask", (0, False))[1]

    def _computed(self) -> list[Tensor] | None:
        """What every example becomes; None where it is too much, or no one tensor."""
        if not self.inner.alone:
            return None
        found: dict[int, Tensor] = {}
        size, order = 0, self.order()
        for start in range(0, len(order), _AT_ONCE):
            indices = order[start : start + _AT_ONCE]
            made: Mapping[str, Tensor] = self.inner.batch(indices)
            hidden = self._backbone.below(made)
            if not isinstance(hidden, Tensor) or hidden.dim() != 3:
                return None
            mask = made.get("attention_mask")
            if mask is None or mask.shape != hidden.shape[:2]:
                mask = torch.ones(hidden.shape[:2])  # a recording's is of its samples
            for index, rows, there in zip(
                indices, hidden.cpu(), mask.bool(), strict=True
            ):
                found[index] = rows[there]
                size += found[index].nbytes
            if size > self._most:
                return None
        return [found[i] for i in range(len(order))]
