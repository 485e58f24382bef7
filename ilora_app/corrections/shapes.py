"""Control variates cut, padded and zeroed to the rank of whoever holds them."""

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


def columns(factors: LoraFactors) -> dict[str, Tensor]:
    """B of every module: the basis that a control variate was computed in."""
    return {module: torch.as_tensor(B) for module, (B, _) in factors.items()}
