"""What a hostile client returns instead of what it has learned."""

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Lie = Callable[[Tensors, Tensors], Tensors]


def flip(times: float, only: str = "") -> Lie:
    """Go the other way: what was received less what was learned, times a factor."""

    def lie(received: Tensors, learned: Tensors) -> Tensors:
        return {
            n: received[n] - times * (v - received[n])
            if n in received and n.startswith(only)
            else v
            for n, v in learned.items()
        }

    return lie


def noise(times: float) -> Lie:
    """Noise of a multiple of the size of what was learned, tensor by tensor."""

    def lie(received: Tensors, learned: Tensors) -> Tensors:
        generator = torch.Generator().manual_seed(0)
        found = {}
        for n, v in learned.items():
            begun = received.get(n, torch.zeros_like(v))
            noise = torch.randn(v.shape, generator=generator)
            found[n] = begun + times * noise * (v - begun).square().mean().sqrt()
        return found

    return lie


def everywhere(value: float) -> Lie:
    """One value, whatever was learned."""
    return lambda received, learned: {
        n: torch.full_like(v, value) for n, v in learned.items()
    }


LIES: dict[str, Lie] = {
    "none": lambda received, learned: learned,
    "flip-1": flip(1),
    "flip-5": flip(5),
    "flip-20": flip(20),
    "head-20": flip(20, "head"),
    "noise-30": noise(30),
    "all-100": everywhere(100.0),
    "all-1e15": everywhere(1e15),
    "all-1e30": everywhere(1e30),
    "examples": flip(1),  # and claims 2^62 examples
    "correction-1e5": lambda received, learned: learned,  # of its control variate
}
