"""Means over clients, densely and in float64: what oracles are made of."""

from collections.abc import Callable

import torch
from torch import Tensor

from tests.quadratic import Dense, Taken, weights

History = list[list[Taken]]


def mean(taken: list[Taken], of: Callable[[Taken], Dense]) -> Dense:
    pairs = list(zip(weights(taken), map(of, taken), strict=True))
    return {m: sum(p * value[m] for p, value in pairs) for m in pairs[0][1]}


def padded(taken: list[Taken], side: int, module: str, rank: int, by=None) -> Tensor:
    """Sum of one factor, index by index over the clients that hold the index."""
    total = torch.zeros(())
    for t, weight in zip(taken, by or weights(taken), strict=True):
        value = t.sent.factors[module][side].double()
        value = value if side else value.T
        grown = torch.zeros(rank, value.shape[1]).double()
        grown[: len(value)] = value
        total = total + weight * grown
    return total if side else total.T
