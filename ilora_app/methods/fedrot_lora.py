"""FedRot-LoRA (arXiv 2602.23638): factors turned towards each other, then averaged."""

import torch

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
)
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of


class FedRotLoRA(Method):
    r"""A = sum_k p_k pad(R_k^T A_k), B = sum_k p_k pad(B_k R_k), with R_k orthogonal.

    R_k = argmin ||R^T A_k - A_ref||_F = U V^T for A_k A_ref^T = U S V^T, A_ref being
    the A that client k received: B_k A_k is what it was, and factors that say the same
    in other coordinates no longer cancel in the means. Published for equal ranks;
    prefix and padding with zeros, with a rotation of r_k x r_k, are our extension.
    """

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Turn, take the means of the factors; mean of the head."""
        weights = weights_of(updates)
        parts = [
            towards(u.adapter.factors, u.received.adapter.factors) for u in updates
        ]
        adapter = AdapterState(
            beside(state.adapter.factors, mean_factors(parts, weights)),
            mean_head([u.adapter.head for u in updates], weights),
        )
        return Aggregate(state.next(adapter))


def towards(factors: LoraFactors, reference: LoraFactors) -> LoraFactors:
    """(B R, R^T A) with the orthogonal R that brings A nearest to a reference's A.

    Args:
        factors: of rank r.
        reference: of the same rank.

    """
    pairs = {}
    for module, (B, A) in factors.items():
        U, _, V = torch.linalg.svd(A.double() @ reference[module][1].double().T)
        R = U @ V  # (r, r)
        pairs[module] = ((B.double() @ R).to(B.dtype), (R.T @ A.double()).to(A.dtype))
    return LoraFactors(pairs)
