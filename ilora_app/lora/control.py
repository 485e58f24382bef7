"""Control variates in factor coordinates: scope, change of basis, and their mean.

A control variate is a mean gradient of everything a client trains, so it is an
:class:`~ilora_app.lora.factors.AdapterState` whose tensors are gradients.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors


def within_scope(state: AdapterState, scope: str) -> AdapterState:
    """Keep what is corrected: ``all``, the ``head`` alone, or the ``factors`` alone."""
    factors = state.factors if scope != "head" else LoraFactors({})
    head = state.head if scope != "factors" else {}
    return AdapterState(factors, head)


def zeros_like(state: AdapterState) -> AdapterState:
    """Build the control variate that both sides start from."""
    flat = {name: torch.zeros_like(t) for name, t in state.named_tensors().items()}
    return AdapterState.from_named_tensors(flat)


Change = Mapping[str, tuple[Tensor, Tensor]]
"""Module -> (T, T^-1) of a change of basis B' = B T, A' = T^-1 A."""


def change_of_basis(old_B: Mapping[str, Tensor], new_B: Mapping[str, Tensor]) -> Change:
    r"""T = B^+ B' by least squares, and its inverse by least squares as well.

    T^-1 = B'^+ B is the same for an exact change of basis, and bounded where the new
    basis covers an old direction only in part.

    Args:
        old_B: module -> B of shape (d_out, r).
        new_B: module -> B' of shape (d_out, r'); r' may differ from r.

    """
    found = {}
    for module, B in old_B.items():
        old, new = B.double(), new_B[module].double()
        T = torch.linalg.pinv(old) @ new  # (r, r')
        found[module] = (T, torch.linalg.pinv(new) @ old)  # (r', r)
    return found


def change_coordinates(control: AdapterState, change: Change) -> AdapterState:
    """Transform gradients: c_B' = c_B T^-T and c_A' = T^T c_A; the head is kept.

    Args:
        control: c_B of shape (d_out, r) and c_A of shape (r, d_in) by module.
        change: of the basis that it was computed in.

    """
    pairs = {}
    for module, (c_B, c_A) in control.factors.items():
        T, T_inverse = change[module]
        pairs[module] = (
            (c_B.double() @ T_inverse.T).to(c_B.dtype),
            (T.T @ c_A.double()).to(c_A.dtype),
        )
    return AdapterState(LoraFactors(pairs), control.head)


def displacement_in(moved: AdapterState, change: Change) -> AdapterState:
    """Transform what moves factors: B' = B T and A' = T^-1 A; the head is kept.

    So that B A + dB A + B dA stays the same matrix. Gradients go the other way: see
    :func:`change_coordinates`.

    Args:
        moved: dB of shape (d_out, r) and dA of shape (r, d_in) by module.
        change: of the basis that it was computed in.

    """
    pairs = {}
    for module, (dB, dA) in moved.factors.items():
        T, T_inverse = change[module]
        pairs[module] = (
            (dB.double() @ T).to(dB.dtype),
            (T_inverse @ dA.double()).to(dA.dtype),
        )
    return AdapterState(LoraFactors(pairs), moved.head)


def rotate(
    control: AdapterState, old_B: Mapping[str, Tensor], new_B: Mapping[str, Tensor]
) -> AdapterState:
    """Express a control variate in the coordinates of another basis.

    Args:
        control: c_B of shape (d_out, r) and c_A of shape (r, d_in) by module.
        old_B: module -> B of shape (d_out, r) under which ``control`` was computed.
        new_B: module -> B' of shape (d_out, r'); r' may differ from r.

    """
    return change_coordinates(control, change_of_basis(old_B, new_B))


def weighted_sum(
    like: AdapterState, parts: Iterable[tuple[AdapterState, float]]
) -> AdapterState:
    """sum_k w_k c_k in float64, rounded once.

    Args:
        like: the shapes and types.
        parts: (c_k at r_max, w_k), in a fixed order, one at a time.

    """
    shapes = like.named_tensors()
    totals = {n: torch.zeros_like(v, dtype=torch.float64) for n, v in shapes.items()}
    for part, weight in parts:
        for name, value in part.named_tensors().items():
            totals[name].add_(value, alpha=weight)
    found = {name: total.to(shapes[name].dtype) for name, total in totals.items()}
    return AdapterState.from_named_tensors(found)


def mean_over_members(
    total: AdapterState,
    member_ranks: Sequence[int],
    weights: Sequence[float],
    normalisation: str,
) -> AdapterState:
    """c = sum_k w_k c_k / sum_k w_k.

    ``all`` divides everything by the weights of all members (with w_k = 1 by their
    number, as ILoRA is published). ``holders`` divides index j of the factors by the
    weights of the members with r_k >= j, so that directions which few clients hold are
    not shrunk. Dividing the sum keeps c right when members come late: theirs is still
    zero.

    Args:
        total: sum_k w_k c_k, factors at r_max.
        member_ranks: r_k of every member, whether it replied or not.
        weights: w_k of every member: its examples, as its factors are weighted, or 1.
        normalisation: ``all`` or ``holders``.

    """
    by = torch.tensor(list(weights), dtype=torch.float64)
    whole = float(by.sum()) or 1.0
    rank = total.factors.rank
    divisors = torch.full((rank,), whole, dtype=torch.float64)  # (r_max,)
    if normalisation == "holders":
        index = torch.arange(1, rank + 1).unsqueeze(1)  # (r_max, 1)
        held = (torch.tensor(list(member_ranks)) >= index).double() @ by
        divisors = torch.where(held > 0, held, 1.0)
    divisors = divisors.float()
    pairs = {
        module: (c_B / divisors, c_A / divisors.unsqueeze(1))
        for module, (c_B, c_A) in total.factors.items()
    }
    head = {name: value / whole for name, value in total.head.items()}
    return AdapterState(LoraFactors(pairs), head)
