"""FedProx (arXiv 1812.06127): a client is held near what it received."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ilora_app.corrections.correction import NAME, ClientCorrection, Correction
from ilora_app.settings.method import FEDPROX

MU = "proximal-mu"


class FedProx(Correction):
    """Server half: nothing is sent, and nothing comes up."""

    name = FEDPROX

    def __init__(self, mu: float) -> None:
        self.mu = mu

    def facts(self) -> dict[str, str | float | list[float]]:
        """Its name, and mu."""
        return {NAME: self.name, MU: self.mu}

    def __str__(self) -> str:
        return f"{self.name} (mu {self.mu:g})"


class FedProxClient(ClientCorrection):
    """Adds (mu / 2) ||theta - theta_received||^2 to the loss, over all that trains.

    Args:
        mu: the weight.

    """

    def __init__(self, mu: float) -> None:
        self._mu = mu

    def penalty(self, parameters: Mapping[str, Tensor]) -> Callable[[], Tensor] | None:
        """The term, held against the parameters as they are now."""
        if self._mu == 0:
            return None
        received = {name: p.detach().clone() for name, p in parameters.items()}

        def term() -> Tensor:
            squares = [
                (p - received[name]).float().square().sum()
                if p.dtype != torch.float64
                else (p - received[name]).square().sum()
                for name, p in parameters.items()
            ]
            return self._mu / 2 * torch.stack(squares).sum()

        return term
