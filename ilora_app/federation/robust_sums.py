r"""Sums for a solved head that say other classes than everybody else's.

Wrong classes change no length, so no norm sees them. The sums themselves tell: with W
the ridge solution of the others' sums, <W_c, b_kc> / n_kc is the mean score that the
others' head gives class c on what node k calls class c (b_kc is column c of its
Phi^T Y). Where nodes agree on the classes it is well above zero; of wrong classes it is
about zero or below. Who is found so has neither its sums used nor, until the head is
solved again, its training.
"""

import math
import statistics
from collections.abc import Sequence

import torch

from ilora_app.federation.outliers import FEWEST
from ilora_app.lora.ridge import RidgeSums

_FOLDS = 10
_LEAST = 0.5


def agreements(sums: Sequence[RidgeSums], ridge: float, bias: bool) -> list[float]:
    """How well the head of the others tells the classes of each node.

    sum_c m_kc <W_c, b_kc> / n_kc over sum_c m_kc, with m_kc the lesser of the examples
    of class c that node k has and that the others have: what nobody else knows says
    nothing. Others are the nodes of the other folds, ten at most, so that the cost is
    that of ten solutions.

    Args:
        sums: of the nodes, in their order.
        ridge: lambda, as in ``RidgeSums.solve``.
        bias: the layer has one.

    Returns:
        A score for each; NaN where it shares no class with the others.

    Raises:
        torch.linalg.LinAlgError: the others' sums have no solution.

    """
    total = sum(sums[1:], sums[0])
    found = [math.nan] * len(sums)
    for start in range(min(_FOLDS, len(sums))):
        fold = range(start, len(sums), _FOLDS)
        others = sum((sums[k].times(-1.0) for k in fold), total)
        W = others.solve(ridge, 1.0, bias)
        for k in fold:
            cross = sums[k].cross
            n = cross[-1].clamp(min=0)
            score = (W * cross[: len(W)]).sum(dim=0) / n.clamp(min=1e-9)  # (C,)
            both = torch.minimum(n, others.cross[-1].clamp(min=0).round(decimals=6))
            if float(both.sum()) > 0:
                found[k] = float((both * score).sum() / both.sum())
    return found


def disagreeing(sums: Sequence[RidgeSums], ridge: float, bias: bool) -> list[int]:
    """Indices of nodes that agree less than half as well as the median node does.

    None where the median node does not agree: features that tell nothing say of nobody
    that its classes are wrong.
    """
    if len(sums) < FEWEST:
        return []
    try:
        found = agreements(sums, ridge, bias)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return []
    known = [value for value in found if not math.isnan(value)]
    least = _LEAST * statistics.median(known) if known else 0.0
    if least <= 0:
        return []
    return [k for k, value in enumerate(found) if value < least]
