"""Tensors by flat name: cut, padded and zeroed to a rank, summed, and measured."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, group_of

Flat = Mapping[str, Tensor]
"""Tensors by flat name."""


def add(part: Flat, delta: Flat) -> Flat:
    """Add an upload to what a node has brought so far, whatever the rank of each."""
    sums = dict(part)
    for name, value in delta.items():
        if name in part:
            shape = torch.Size(map(max, part[name].shape, value.shape))
            value = fit(part[name], shape) + fit(value, shape)
        sums[name] = value
    return sums


def norm(tensors: Flat) -> float:
    """Frobenius norm of tensors together."""
    norms = (torch.linalg.vector_norm(v, dtype=torch.float64) for v in tensors.values())
    return math.hypot(*map(float, norms))


def times(value: Tensor, factor: float) -> Tensor:
    """Multiply in float64, in which the largest float32 has room."""
    return (factor * value.double()).to(value.dtype)


def pad_to(delta: Flat, total: AdapterState) -> AdapterState:
    """Make an upload as large as the total: zeros where it says nothing."""
    return AdapterState.from_named_tensors(
        {
            name: fit(delta[name], value.shape)
            if name in delta
            else torch.zeros_like(value)
            for name, value in total.named_tensors().items()
        }
    )


def fit(value: Tensor, shape: torch.Size) -> Tensor:
    """Cut, or pad with zeros, to a shape of the same kind at another rank."""
    found = torch.zeros(shape, dtype=value.dtype)
    there = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, shape, strict=True))
    found[there] = value[there]
    return found


def weighted_total(
    parts: Mapping[int, Flat], weights: Mapping[int, float], name: str, like: Tensor
) -> Tensor | None:
    """sum_k w_k part_k of one tensor, padded with zeros to a shape; in float64.

    Args:
        parts: tensors by node.
        weights: w_k by node, in order.
        name: of the tensor.
        like: of the shape.

    Returns:
        The sum; None where no node has such a tensor.

    """
    found = [(parts[n][name], w) for n, w in weights.items() if name in parts[n]]
    if not found:
        return None
    total = torch.zeros(like.shape, dtype=torch.float64)
    for value, weight in found:
        total += weight * fit(value.double(), like.shape)
    return total


def keep_rank(name: str, value: Tensor, rank: int) -> Tensor:
    """Zero the directions of a factor beyond ``rank``."""
    kept = value.clone()
    if group_of(name) == "lora_B":
        kept[:, rank:] = 0
    elif group_of(name) == "lora_A":
        kept[rank:] = 0
    return kept


def cut(part: Flat, rank: int) -> dict[str, Tensor]:
    """The first directions of every factor; the head is kept."""
    cuts = {
        "lora_B": lambda value: value[:, :rank],
        "lora_A": lambda value: value[:rank],
    }
    return {n: cuts.get(group_of(n), lambda value: value)(v) for n, v in part.items()}


def rank_of(part: Flat) -> int:
    """Rank of the factors among tensors; 0 where there are none."""
    ranks = {"lora_A": 0, "lora_B": 1}
    found = [(v, ranks[g]) for n, v in part.items() if (g := group_of(n)) in ranks]
    return max((value.shape[side] for value, side in found), default=0)


def basis_of(factors: LoraFactors) -> dict[str, Tensor]:
    """Factors by flat name: the basis that a control variate was computed in."""
    return AdapterState(factors, {}).named_tensors()


def factors_of(basis: Flat) -> LoraFactors:
    """The same as factors."""
    return AdapterState.from_named_tensors(basis).factors
