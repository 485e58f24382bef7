r"""What the factors still contain of a QR start, and what was learned beside it.

The model is W0 + s (D - D0): D0 = L R is the part of D that clients' bases gave up.
"""

import torch

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.folding import Norm
from ilora_app.lora.initialisation import gain_squared
from ilora_app.lora.products import of_layers
from ilora_app.lora.spread import squared_norms
from ilora_app.methods.state import (
    GlobalState,
    Update,
    nothing_learned,
    weights_of,
)


def refuse_a_product(factors: LoraFactors) -> None:
    """Refuse a start that is not W0 where nothing of it is taken out of the base.

    Raises:
        ValueError: B is not 0.

    """
    if any(B.any() for B, _ in factors.pairs.values()):
        raise ValueError(
            "initial factors with B A != 0: expected B = 0 (standard_factors), or QR "
            "directions with qr_start=True, which takes them out of the base"
        )


def with_gain(adapter: AdapterState, gain: str) -> AdapterState:
    """The start of a client: g_k (Q[:, :r_k], R[:r_k]), with the gain of its rank.

    Args:
        adapter: QR directions cut to r_k, and the head.
        gain: ``paper`` or ``scaled``.

    """
    squared = gain_squared(adapter.factors, adapter.factors.rank, gain)
    g = {module: value**0.5 for module, value in squared.items()}
    pairs = {m: (g[m] * Q, g[m] * R) for m, (Q, R) in adapter.factors.items()}
    return AdapterState(LoraFactors(pairs), adapter.head)


def mean_offset(state: GlobalState, updates: list[Update]) -> LoraFactors | None:
    """D0 = sum_k p_k O_k = L R with L = sum_k p_k B_k C_k of what clients received.

    In round 1, O_k is the product g^2 Q_k R_k, so C_k is g (I 0).
    """
    if state.offset is None:
        return None
    shares = {update.rank: update.received for update in reversed(updates)}
    by = dict.fromkeys((update.rank for update in updates), 0.0)
    for update, weight in zip(updates, weights_of(updates), strict=True):
        by[update.rank] += weight
    pairs = {}
    for module, (L, R) in state.offset.items():
        mean = torch.zeros_like(L, dtype=torch.float64)
        for rank, weight in by.items():  # clients of one rank receive the same
            B = shares[rank].adapter.factors[module][0].double()
            if state.step:
                part = B @ shares[rank].coefficients[module].double()
                mean += weight * part
            else:  # B = g Q, so g B is g^2 Q
                g = torch.linalg.vector_norm(B, dim=0)
                mean[:, : B.shape[1]] += weight * (B * g)
        pairs[module] = (mean.float(), R)
    return LoraFactors(pairs)


def energy_of_learned(
    parts: list[LoraFactors], weights: list[float], cut: LoraFactors, D0: LoraFactors
) -> tuple[float, ...]:
    """Part of ||D - D0||_F^2 that a client of rank j starts with, for j = 1..r_max.

    It starts at P_j (D - D0), with P_j the projector on the first j columns of B; so
    the row norms of A - B^T L R count. Of ||D||_F^2 the start of W0 would hide it.

    Args:
        parts, weights: D as a weighted sum of products.
        cut: (B, A) with orthonormal B and A = B^T D, at r_max, in float64.
        D0: (L, R).

    """
    both = [*parts, D0]
    kept, total = torch.zeros(cut.rank, dtype=torch.float64), 0.0
    for module, layer in of_layers(both, [*weights, -1.0]):
        B, A = cut[module]
        L, R = (side.double() for side in D0[module])
        learned = A - (B.T @ L) @ R
        kept += learned.square().sum(dim=1).cpu()
        norm = Norm(module, layer)
        norm.add_all()
        total += norm.squared(B, learned)
    # Where nothing was learned, nothing can be lost.
    noise = 1e-12 * float(squared_norms(both).sum())
    energy = kept.cumsum(0) / total if total > noise else torch.ones_like(kept)
    return tuple(energy.clamp(max=1.0).tolist())


def products_before(state: GlobalState, D0: LoraFactors | None) -> LoraFactors:
    """What the server has learned, or holds, before a round: U, or D.

    Args:
        state: that clients trained from.
        D0: what their bases had given up, where D is kept; None where U is.

    """
    if state.step:
        return state.adapter.factors
    if D0 is not None:
        return D0
    return nothing_learned(state.adapter.factors)
