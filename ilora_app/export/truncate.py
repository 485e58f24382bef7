"""An adapter of any rank: the best approximation of the global update."""

import torch

from ilora_app.lora.decomposition import truncate_product
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
