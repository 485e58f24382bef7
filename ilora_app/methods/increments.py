r"""What clients have learned in a round, as factors.

Delta_k = B_k A_k - P_k, with P_k the product that client k received, is a product of
factors ([B_k, -B], [A_k; A]); so sums of increments stay factored and are never dense.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora_app.lora import folding
from ilora_app.lora.factors import LoraFactors
from ilora_app.lora.spread import spread
from ilora_app.methods.state import Update, weights_of

Weighted = list[tuple[LoraFactors, float]]
"""Products B A with their weights in a sum."""

_ROUNDING = 1e-12
"""A weight of this part of the largest is what rounding left of a sum of weights."""


def received_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k P_k: one product a rank, as clients of one rank receive the same."""
    bases, base_of = received(updates)
    sums = [0.0] * len(bases)
    for base, weight in zip(base_of, weights_of(updates), strict=True):
        sums[base] += weight
    return list(zip(bases, sums, strict=True))


def received(updates: Sequence[Update]) -> tuple[list[LoraFactors], list[int]]:
    """What clients received, once a rank; and k -> index into it."""
    first: dict[int, LoraFactors] = {}
    for update in updates:
        first.setdefault(update.rank, update.received.adapter.factors)
    ranks = list(first)
    return list(first.values()), [ranks.index(update.rank) for update in updates]


def spread_of(
    updates: Sequence[Update], weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """||Delta_k||_F^2 and <Delta_k, sum_j w_j Delta_j>: see ``lora.spread``."""
    parts = [update.adapter.factors for update in updates]
    return spread(parts, *received(updates), weights)


def squared_distances(updates: Sequence[Update], weights: Sequence[float]) -> Tensor:
    """||Delta_k - sum_j w_j Delta_j||_F^2, of many clients estimated by folding."""
    parts = [update.adapter.factors for update in updates]
    bases, base_of = received(updates)
    if sum(part.rank for part in (*parts, *bases)) > folding.EXACT:
        return folding.squared_distances(parts, bases, base_of, weights)
    own, common = spread_of(updates, weights)
    p = torch.tensor(weights, dtype=torch.float64)
    return own - 2 * common + p @ common


def returned_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k B_k A_k: the products of the clients."""
    parts = [update.adapter.factors for update in updates]
    return list(zip(parts, weights_of(updates), strict=True))


def scale(parts: Weighted, by: float) -> Weighted:
    """Multiply a sum by a number."""
    return [(part, by * weight) for part, weight in parts]


def gathered(terms: Weighted) -> Weighted:
    """The same sum, in which directions that several terms share are there once.

    What clients receive are mostly the leading directions of the model, as they lie in
    its memory: of U - sum_k p_k P_k nothing is left in those that all received.

    Args:
        terms: few; each is compared with each.

    """
    found: list[tuple[LoraFactors, Tensor]] = []
    for factors, weight in sorted(terms, key=lambda term: -term[0].rank):
        of = next((held for held in found if _leads(factors, held[0])), None)
        if of is None:
            of = (factors, torch.zeros(factors.rank, dtype=torch.float64))
            found.append(of)
        of[1][: factors.rank] += weight
    noise = _ROUNDING * max((abs(weight) for _, weight in terms), default=0.0)
    parts: Weighted = []
    for factors, by in found:
        start, weights = 0, by.tolist()
        for end in range(1, len(weights) + 1):
            weight = weights[start]
            if end < len(weights) and weights[end] == weight:
                continue
            if abs(weight) > noise:
                parts.append((_directions(factors, start, end), weight))
            start = end
    return parts


def _leads(part: LoraFactors, whole: LoraFactors) -> bool:
    """Whether these are the leading directions of others, in the same memory."""
    if part.pairs.keys() != whole.pairs.keys() or part.rank > whole.rank:
        return False
    return all(
        M.data_ptr() == of.data_ptr()
        and M.stride() == of.stride()
        and M.dtype == of.dtype
        for module, pair in part.items()
        for M, of in zip(pair, whole[module], strict=True)
    )


def _directions(factors: LoraFactors, start: int, end: int) -> LoraFactors:
    if (start, end) == (0, factors.rank):
        return factors
    return LoraFactors(
        {m: (B[:, start:end], A[start:end]) for m, (B, A) in factors.items()}
    )
