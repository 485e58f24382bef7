"""What applies c - c_k in local training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class GradientCorrection:
    """Before every step g <- g + (c - c_k); keeps the mean of the raw g.

    It runs before the optimizer reads the gradients, so AdamW's moments see the
    corrected gradient and its decoupled weight decay is untouched. The training loop
    sets ``examples`` to the number of examples behind the next step; the mean is
    weighted by it, and divided by batches, not by examples.

    Adding c - c_k to AdamW's first moment instead, with v of the raw gradient, is no
    option: where a client's own gradient is small, nothing bounds its step.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], correction: Mapping[str, Tensor]
    ) -> None:
        self._parameters = {name: parameters[name] for name in correction}
        self._correction = correction
        # float32 sums, whatever dtype is trained
        self._sums = {
            n: p.new_zeros(p.shape).float() for n, p in self._parameters.items()
        }
        self._seen = 0
        self.examples = 1

    def attach(self, optimizer: Optimizer) -> None:
        """Run at every step of an optimizer."""
        optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        """Add the raw gradients to their mean, then correct them in place."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.grad is None:
                    continue
                self._sums[name].add_(parameter.grad, alpha=self.examples)
                parameter.grad.add_(self._correction[name].to(parameter))
        self._seen += self.examples

    def mean_gradient(self) -> dict[str, Tensor]:
        """Mean raw gradient over the steps so far, weighted by batch size."""
        return {name: total / max(self._seen, 1) for name, total in self._sums.items()}
