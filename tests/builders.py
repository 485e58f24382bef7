"""Small values that many tests need."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.state import Share, Update

SHAPES = {"encoder.query": (12, 10), "encoder.value": (9, 14)}


# One that sends increments, one that averages factors, one that stacks them, and one
# of gradients in a subspace: in the fast suite they stand for all, where all run.
FAST = ("ilora", "fedit", "flora", "fedgalore")


def of_each(methods: Iterable[str]) -> list[Any]:
    """Parameters for a test that runs the app under every method."""
    return [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in methods
    ]


def random_factors(rank: int, seed: int = 0) -> LoraFactors:
    generator = torch.Generator().manual_seed(seed)
    return LoraFactors(
        {
            name: (
                torch.randn(d_out, rank, generator=generator),
                torch.randn(rank, d_in, generator=generator),
            )
            for name, (d_out, d_in) in SHAPES.items()
        }
    )


def random_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(*shape, generator=generator) for n, shape in SHAPES.items()}


def random_state(rank: int, seed: int = 0) -> AdapterState:
    generator = torch.Generator().manual_seed(1000 + seed)
    head = {"classifier.weight": torch.randn(3, 5, generator=generator)}
    return AdapterState(random_factors(rank, seed), head)


def update(
    partition: int,
    adapter: AdapterState,
    received: Share | None = None,
    examples: float = 10,
    correction: dict[str, torch.Tensor] | None = None,
) -> Update:
    rank = adapter.factors.rank
    return Update(
        node=100 + partition,
        rank=rank,
        received=received or Share(adapter),
        adapter=adapter,
        examples=examples,
        loss=1.0,
        seconds=0.0,
        correction=correction or {},
    )
