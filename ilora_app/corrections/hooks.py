"""What applies c - c_k in local training: to the gradient, or to AdamW's moment."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer


class GradientCorrection:
    """Before every step g <- g + (c - c_k); keeps the mean of the raw g.

    It runs before the optimizer reads the gradients, so AdamW's moments see the
    corrected gradient and its decoupled weight decay is untouched. The training loop
    sets ``examples`` to the number of examples behind the next step; the mean is
    weighted by it, and divided by batches, not by examples.
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
                self._correct(parameter, self._correction[name])
        self._seen += self.examples

    def mean_gradient(self) -> dict[str, Tensor]:
        """Mean raw gradient over the steps so far, weighted by batch size."""
        return {name: total / max(self._seen, 1) for name, total in self._sums.items()}

    def _correct(self, parameter: Tensor, correction: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.add_(correction.to(parameter))


class MomentCorrection(GradientCorrection):
    r"""In AdamW's step, m^ + (c - c_k) takes the place of m^; v sees the raw gradient.

    theta <- theta - eta (m^ + c - c_k) / (sqrt(v^) + eps) - eta lambda theta, with m^
    and v^ the moments without their start's bias: after the optimizer's own step,
    what the correction adds to it is taken. SGD's step is linear in the gradient, with
    momentum too, so there it is the same as correcting the gradient, and done so.
    """

    def attach(self, optimizer: Optimizer) -> None:
        """Run at every step of an optimizer, and after it where it is AdamW."""
        super().attach(optimizer)
        self._after = isinstance(optimizer, AdamW)
        if self._after:
            optimizer.register_step_post_hook(self._move)

    def _correct(self, parameter: Tensor, correction: Tensor) -> None:
        if not self._after:
            super()._correct(parameter, correction)

    def _move(self, optimizer: Optimizer, *_: Any) -> None:
        """Take what c - c_k adds to AdamW's step."""
        names = {id(p): name for name, p in self._parameters.items()}
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = names.get(id(parameter))
                    state = optimizer.state.get(parameter)
                    if name is None or not state or parameter.grad is None:
                        continue
                    unbiased = 1 - group["betas"][1] ** float(state["step"])
                    v = state["exp_avg_sq"] / unbiased
                    added = self._correction[name].to(parameter)
                    parameter.addcdiv_(
                        added, v.sqrt_().add_(group["eps"]), value=-group["lr"]
                    )
