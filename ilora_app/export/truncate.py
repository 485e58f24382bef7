"""An adapter of any rank: the best approximation of the global update."""

import math

import torch

from ilora_app.lora.decomposition import singular_values, truncate_product
from ilora_app.lora.factors import AdapterState, LoraFactors


def truncated(adapter: AdapterState, rank: int) -> tuple[AdapterState, float]:
    """Cut every layer's update B A to its best approximation of a rank.

    By the SVD of the core of the factors (Eckart-Young), in float64; the update itself
    is never formed. A layer whose smaller side is below ``rank`` keeps all it has.

    Args:
        adapter: relative to the untouched W0.
        rank: r, at most that of the adapter.

    Returns:
        The adapter at that rank, and the part of ||B A||_F^2, over all layers together,
        that it holds.

    Raises:
        ValueError: the rank is below 1 or above that of the adapter.

    """
    held = adapter.factors.rank
    if not 1 <= rank <= held:
        raise ValueError(
            f"rank {rank}: expected 1 to {held}; an adapter of rank {held} is all of "
            "the global update"
        )
    pairs, kept, total = {}, 0.0, 0.0
    for module, (B, A) in adapter.factors.to(torch.float64).items():
        most = min(rank, B.shape[0], A.shape[1])
        U, SV = truncate_product(B, A, most, "svd")
        kept += float((SV * SV).sum())
        total += float(((B.T @ B) * (A @ A.T)).sum())
        # Half of every singular value on each side, as trained factors have it.
        root = torch.linalg.vector_norm(SV, dim=1).sqrt()  # (r,)
        safe = torch.where(root > 0, root, torch.ones_like(root))
        spare = rank - most
        pairs[module] = (
            torch.nn.functional.pad(U * safe, (0, spare)).float(),
            torch.nn.functional.pad(SV / safe.unsqueeze(1), (0, 0, 0, spare)).float(),
        )
    energy = min(1.0, kept / total) if total > 0 else 1.0
    return AdapterState(LoraFactors(pairs), adapter.head), energy


def energies(adapter: AdapterState) -> tuple[float, ...]:
    """Part of ||B A||_F^2 that the best cut to rank 1, 2, ... r of an adapter holds.

    Over all layers together; of an update of nothing every cut holds all.
    """
    total = torch.zeros(adapter.factors.rank, dtype=torch.float64)
    for _, (B, A) in adapter.factors.items():
        squares = singular_values(B, A).square().cpu()
        total[: len(squares)] += squares
    whole = float(total.sum())
    if not whole > 0:
        return (1.0,) * len(total)
    held = (total.cumsum(0) / whole).clamp(max=1.0)
    held[-1] = 1.0
    return tuple(held.tolist())


def whole_alpha(adapter: AdapterState, scaling: float) -> tuple[AdapterState, int]:
    """Write s B A as (alpha / r) B' A with a whole number alpha, as servers expect.

    Args:
        adapter: of rank r.
        scaling: s.

    Returns:
        The adapter with B' = B s r / alpha, and alpha; where s r is whole, B' is B.

    """
    rank = adapter.factors.rank
    exact = scaling * rank
    alpha = max(1, round(exact))
    if math.isclose(alpha, exact, rel_tol=1e-9):
        return adapter, alpha
    alpha = max(1, math.ceil(exact))
    pairs = {
        module: (B * (exact / alpha), A) for module, (B, A) in adapter.factors.items()
    }
    return AdapterState(LoraFactors(pairs), adapter.head), alpha
