"""LoRA-FAIR (arXiv 2411.14961): means of the factors, and a correction of B."""

from typing import Any

import torch
from torch import Tensor

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
)
from ilora_app.lora.gram import gram_norm
from ilora_app.lora.products import of_layers
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of
from ilora_app.settings import Settings

_MOST_STEPS = 500
_CLOSE = 1e-12


class LoRAFAIR(Method):
    r"""A = sum_k p_k pad(A_k), B = sum_k p_k pad(B_k), and then B + dB.

    dB = argmin 1 - cos(vec D, vec((B + dB) A)) + lambda ||dB||_F^2, layer by layer, so
    that the product points as the exact mean D does. Clients start from (B + dB, A).
    Nearly exact for equal ranks; prefix and padding with zeros are our extension.

    The cosine does not see a length, and with unequal ranks the penalty's minimum
    shortens B in every round, as padding has shortened it already; so (B + dB) A gets
    the length of D then, which is our choice.

    Args:
        regularisation: lambda.

    """

    setting_keys = frozenset({"lora-fair-lambda"})

    def __init__(self, *, regularisation: float = 0.01) -> None:
        self.regularisation = regularisation

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read lambda."""
        return {"regularisation": settings.method.lora_fair_lambda}

    def details(self) -> dict[str, object]:
        """Return lambda."""
        return {"Lambda": self.regularisation}

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means, and correct B; mean of the head."""
        weights = weights_of(updates)
        parts = [update.adapter.factors for update in updates]
        old = state.adapter.factors
        means = mean_factors(parts, weights, torch.float64).pad(old.rank)
        unequal = len({part.rank for part in parts}) > 1
        pairs = {}
        for module, layer in of_layers(parts, weights):
            B_c, A_c = layer.short()
            B, A = means[module]
            whole = B + correction(B_c, A_c, B, A, self.regularisation)
            if unequal:
                whole *= _length(B_c, A_c) / _length(whole, A).clamp(min=_CLOSE)
            pairs[module] = (whole.float(), A.float())
        head = mean_head([u.adapter.head for u in updates], weights)
        factors = beside(old, LoraFactors(pairs))
        return Aggregate(state.next(AdapterState(factors, head)))


def correction(
    B_c: Tensor, A_c: Tensor, B: Tensor, A: Tensor, regularisation: float
) -> Tensor:
    r"""Find dB that minimises 1 - cos(D, (B + dB) A) + lambda ||dB||_F^2.

    With M = (B + dB) A, a = 1 / (||D|| ||M||) and b = cos / ||M||^2, the gradient is
    zero where dB (2 lambda I + b A A^T) = a D A^T - b B A A^T. That is solved for a and
    b held fixed, and repeated; a step that would raise the objective is halved. As the
    cosine does not see the length of W = B + dB, W is scaled after every step by what
    the penalty likes best, <W, B> / ||W||^2. D enters through D A^T = B_c (A_c A^T) and
    through inner products, which are sums over Gram matrices of the factors: D is
    never formed.

    Args:
        B_c, A_c: D = B_c A_c, shapes (d_out, rho) and (rho, d_in), in float64.
        B, A: means, shapes (d_out, r) and (r, d_in).
        regularisation: lambda, above 0.

    """
    S = A @ A.T  # (r, r)
    DA = B_c @ (A_c @ A.T)  # D A^T, (d_out, r)
    length_D = _length(B_c, A_c)
    eye = torch.eye(len(S), dtype=S.dtype)

    def measure(dB: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ||M||, cos(D, M), and the objective."""
        whole = B + dB
        length = ((whole @ S) * whole).sum().clamp(min=0).sqrt()
        cosine = (DA * whole).sum() / (length_D * length)
        return length, cosine, 1 - cosine + regularisation * (dB * dB).sum()

    dB = torch.zeros_like(B)
    length, cosine, objective = measure(dB)
    if not torch.isfinite(cosine):  # D or B A is zero: there is no direction to follow
        return dB
    for _ in range(_MOST_STEPS):
        a, b = 1 / (length_D * length), cosine / length**2
        # From a cosine below zero, |b| keeps the step downhill.
        slope = 2 * regularisation * dB + b * ((B + dB) @ S) - a * DA
        matrix = 2 * regularisation * eye + b.abs() * S
        step, before = torch.linalg.solve(matrix, -slope, left=False), objective
        while True:
            length, cosine, objective = measure(dB + step)
            if not objective > before or step.abs().max() < _CLOSE:
                break  # NaN ends here too: the server then keeps its model
            step = step / 2
        # The cosine does not see the length of B + dB, so the best one is known.
        whole = B + dB + step
        best = (whole * B).sum() / (whole * whole).sum()
        if best > 0:
            step = whole * best - B - dB
        dB = dB + step
        length, cosine, objective = measure(dB)
        if step.abs().max() <= _CLOSE * (1 + dB.abs().max()):
            break
    return dB


def _length(B: Tensor, A: Tensor) -> Tensor:
    """||B A||_F from Gram matrices."""
    return torch.tensor(max(gram_norm(B, A), 0.0), dtype=B.dtype).sqrt()
