"""FedZMG (arXiv 2602.18384): gradients whose mean is zero, tensor by tensor."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ilora_app.corrections.correction import (
    NAME,
    ClientCorrection,
    Correction,
    StepHook,
)
from ilora_app.settings.method import FEDZMG


class FedZMG(Correction):
    """Server half: nothing is sent, and nothing comes up."""

    name = FEDZMG

    def facts(self) -> dict[str, str | float | list[float]]:
        """Its name."""
        return {NAME: self.name}


class FedZMGClient(ClientCorrection):
    """Takes the mean of its entries out of every gradient, before the step."""

    def hook(self, parameters: Mapping[str, Tensor]) -> StepHook:
        """The hook."""
        return ZeroMeanGradient(parameters)


class ZeroMeanGradient:
    """Before every step g <- g - mean(g), for every tensor of more than one entry.

    A tensor of one entry would never move, and is left as it is [choice].
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self.examples = 1

    def attach(self, optimizer: Optimizer) -> None:
        """Run at every step of an optimizer."""
        optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        """Center the gradients in place."""
        with torch.no_grad():
            for parameter in self._parameters.values():
                if parameter.grad is not None and parameter.numel() > 1:
                    parameter.grad.sub_(parameter.grad.mean())
