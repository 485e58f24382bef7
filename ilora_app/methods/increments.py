r"""What clients have learned in a round, as factors.

Delta_k = B_k A_k - P_k, with P_k the product that client k received, is a product of
factors ([B_k, -B], [A_k; A]); so sums of increments stay factored and are never dense.
"""

from collections.abc import Sequence

from ilora_app.lora.factors import LoraFactors
from ilora_app.methods.state import Update, weights_of

Weighted = list[tuple[LoraFactors, float]]
"""Products B A with their weights in a sum."""


def received_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k P_k: one product a rank, as clients of one rank receive the same."""
    sums: dict[int, float] = {}
    first: dict[int, LoraFactors] = {}
    for update, weight in zip(updates, weights_of(updates), strict=True):
        first.setdefault(update.rank, update.received.adapter.factors)
        sums[update.rank] = sums.get(update.rank, 0.0) + weight
    return [(first[rank], weight) for rank, weight in sums.items()]


def returned_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k B_k A_k: the products of the clients."""
    parts = [update.adapter.factors for update in updates]
    return list(zip(parts, weights_of(updates), strict=True))


def scale(parts: Weighted, by: float) -> Weighted:
    """Multiply a sum by a number."""
    return [(part, by * weight) for part, weight in parts]
