"""A client's private adapter: factors of its own rank that never leave the node.

A layer computes W0 x + s (T + B A - O) x + s w B_p A_p x: what the federation shares,
and beside it what the client keeps to itself, trained together (arXiv 2206.06818: the
shared and the private branch of disentangled federated learning, as two adapters).
"""

import torch
from torch import Tensor, nn

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.tasks.adapters import PRIVATE
from ilora_app.tasks.backbone import Backbone

PRIVATE_A, PRIVATE_B = "private_A", "private_B"
"""What the names of the factors end with."""


class PrivateAdapter:
    """The private factors in a backbone.

    Args:
        backbone: whose layers get them.
        rank: r_p.
        weight: w.

    """

    def __init__(self, backbone: Backbone, rank: int, weight: float) -> None:
        self._backbone, self._rank = backbone, rank
        self._name = backbone.adapters.ensure(PRIVATE, rank)
        for _, layer in backbone.layers():
            layer.scaling[self._name] = backbone.settings.lora_scaling * weight

    def fresh(self, seed: int) -> LoraFactors:
        """What a client begins with: A random, B = 0, so that nothing changes."""
        generator = torch.Generator().manual_seed(seed)
        return standard_factors(self._backbone.shapes(), self._rank, generator)

    def install(self, factors: LoraFactors) -> None:
        """Compute with these factors too, beside what is installed."""
        adapters = self._backbone.adapters
        adapters.activate([*adapters.active, self._name])
        with torch.no_grad():
            for name, (B, A) in factors.items():
                pair = self._pair(name)
                pair[0].copy_(B)
                pair[1].copy_(A)

    def parameters(self) -> dict[str, nn.Parameter]:
        """B_p and A_p by module, under names that no group of an upload has."""
        found = {}
        for name, _ in self._backbone.layers():
            B, A = self._pair(name)
            found[f"{name}.{PRIVATE_B}"], found[f"{name}.{PRIVATE_A}"] = B, A
        return found

    def collect(self) -> LoraFactors:
        """Take the factors out, as float32 copies on the CPU."""

        def copy(value: Tensor) -> Tensor:
            return value.detach().float().cpu().clone()

        return LoraFactors(
            {
                name: (copy(B), copy(A))
                for name, _ in self._backbone.layers()
                for B, A in [self._pair(name)]
            }
        )

    def _pair(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        layer = dict(self._backbone.layers())[name]
        return layer.lora_B[self._name].weight, layer.lora_A[self._name].weight


def as_tensors(factors: LoraFactors) -> dict[str, Tensor]:
    """Factors as a client keeps them."""
    return dict(AdapterState(factors, {}).named_tensors())


def from_tensors(tensors: dict[str, Tensor]) -> LoraFactors:
    """Factors from what a client has kept."""
    return AdapterState.from_named_tensors(tensors).factors
