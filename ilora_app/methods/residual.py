"""What ILoRA does with the directions that a cut leaves out.

``drop`` forgets them (the paper). ``merge`` gives the whole increment of a round to
the base of every client, for good. ``send`` lets the base of a client hold those
directions of the model that its rank cannot train, for the round.
"""

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors

_NEEDS = {
    "merge": ("product", "products", "of which it keeps what is cut away"),
    "send": (
        "update",
        "increments",
        "as the product of a client's factors is not all that it holds",
    ),
}


def problem(residual: str, cut: str, aggregate: str) -> str:
    """What a residual needs and has not; empty where all fits."""
    if residual not in _NEEDS:
        return ""
    needed_cut, needed_aggregate, why = _NEEDS[residual]
    if (cut, aggregate) == (needed_cut, needed_aggregate):
        return ""
    both = f"cut = {needed_cut!r} and aggregate = {needed_aggregate!r}"
    return f"expected drop, or {both}, {why}"


def behind(factors: LoraFactors, rank: int) -> dict[str, Tensor]:
    """Directions of (B, A) behind the first ``rank``, as one tensor a module.

    Returns:
        module -> [B[:, rank:]; A[rank:]^T] of shape (d_out + d_in, r_max - rank); empty
        where there are none.

    """
    if rank >= factors.rank:
        return {}
    return {
        module: torch.cat([B[:, rank:], A[rank:].T])
        for module, (B, A) in factors.items()
    }
