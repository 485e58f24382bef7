"""Control variates in factor coordinates: scope, change of basis, and their mean.

A control variate is a mean gradient of everything a client trains, so it is an
:class:`~ilora_app.lora.factors.AdapterState` whose tensors are gradients.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, Pair

_ROUNDING = 1e-6


def within_scope(state: AdapterState, scope: str) -> AdapterState:
    """Keep what is corrected: ``all``, the ``head`` alone, or the ``factors`` alone."""
    factors = state.factors if scope != "head" else LoraFactors({})
    head = state.head if scope != "factors" else {}
    return AdapterState(factors, head)


def zeros_like(state: AdapterState) -> AdapterState:
    """Build the control variate that both sides start from."""
    flat = {name: torch.zeros_like(t) for name, t in state.named_tensors().items()}
    return AdapterState.from_named_tensors(flat)


def rotate(control: AdapterState, old: LoraFactors, new: LoraFactors) -> AdapterState:
    """Transform gradients: c_B' = c_B (A' A^+)^T, c_A' = (B^+ B')^T c_A; not the head.

    That is c_B T^-T and T^T c_A where B' = B T and A' = T^-1 A. T is never taken from B
    for what multiplies A, nor the other way round: factors that have grown, as U S has
    under an orthonormal A, are no change of basis, and T would be taken for one.

    Args:
        control: c_B of shape (d_out, r) and c_A of shape (r, d_in) by module.
        old: factors at rank r under which ``control`` was computed.
        new: factors at r'; r' may differ from r.

    """
    pairs = {}
    for module, (c_B, c_A) in control.factors.items():
        (B, A), (new_B, new_A) = (_double(f[module]) for f in (old, new))
        pairs[module] = (
            (c_B.double() @ (new_A @ _inverse(A)).T).to(c_B.dtype),
            ((_inverse(B) @ new_B).T @ c_A.double()).to(c_A.dtype),
        )
    return AdapterState(LoraFactors(pairs), control.head)


def displacement_in(
    moved: AdapterState, old: LoraFactors, new: LoraFactors
) -> AdapterState:
    """Transform what moves factors: dB' = dB A A'^+, dA' = B'^+ B dA; not the head.

    So that dB A and B dA stay the same matrices, as far as A' and B' can hold them. Of
    an exact change of basis these are dB T and T^-1 dA; gradients go the other way, see
    :func:`rotate`.

    Args:
        moved: dB of shape (d_out, r) and dA of shape (r, d_in) by module.
        old, new: as there.

    """
    pairs = {}
    for module, (dB, dA) in moved.factors.items():
        (B, A), (new_B, new_A) = (_double(f[module]) for f in (old, new))
        pairs[module] = (
            (dB.double() @ (A @ _inverse(new_A))).to(dB.dtype),
            (_inverse(new_B) @ B @ dA.double()).to(dA.dtype),
        )
    return AdapterState(LoraFactors(pairs), moved.head)


def _double(pair: Pair) -> Pair:
    B, A = pair
    return B.double(), A.double()


def _inverse(M: Tensor) -> Tensor:
    """M^+, of what is above the rounding of float32."""
    found: Tensor = torch.linalg.pinv(M, rtol=_ROUNDING)
    return found


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
