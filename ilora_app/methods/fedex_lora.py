"""FedEx-LoRA (arXiv 2410.09432): means of the factors, and the residual in the base."""

import torch

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
)
from ilora_app.lora.ledger import Ledger
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of


class FedExLoRA(Method):
    """A = sum_k p_k pad(A_k), B = sum_k p_k pad(B_k), W0 <- W0 + s (D - B A).

    The residual D - B A goes into the base ledger as the factors [B_1 ... B_K, -B] and
    [p_1 A_1; ...; p_K A_K; A], compressed to their numerical rank, so that the global
    model is the exact mean of the clients' models. Prefix and padding with zeros are
    our extension to unequal ranks.

    The server's step is one of the whole model M = T + B A: the ledger takes what is
    left of eta D + (1 - eta) M + beta (M - M_before), for D the clients' mean of M.
    """

    server_step = "products"
    dora_refusal = (
        "fedex-lora gives the base of every client what the means leave over, whose "
        "rows then have other lengths than the magnitudes that were trained"
    )

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start from B A = 0 and W0."""
        return GlobalState(initial, ledger=Ledger())

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of the factors and the head; the residual to the ledger."""
        assert state.ledger is not None
        weights = weights_of(updates)
        parts = [update.adapter.factors for update in updates]
        eta, held = self.step.rate_of(updates), state.adapter.factors
        means = beside(held, mean_factors(parts, weights, torch.float64))
        negative = LoraFactors({m: (-B, A) for m, (B, A) in means.items()})
        parts.append(negative)
        by = [*(eta * weight for weight in weights), 1.0]
        if eta != 1.0:
            parts.append(held)
            by.append(1 - eta)
        before = self.step.before(state)
        if before is not None:  # M - M_before = (T - T_before) + B A - (B A)_before
            beta = self.step.momentum
            last = LoraFactors(state.ledger.increments[-1])
            parts += [last, held, before]
            by += [beta, beta, -beta]
        mean = mean_head([u.adapter.head for u in updates], weights)
        head, buffers = self.step.head(state, mean, eta)
        ledger = state.ledger.append_sum(parts, by)
        adapter = AdapterState(means.to(torch.float32), head)
        buffers |= self.step.remember(state.adapter.factors)
        return Aggregate(state.next(adapter, ledger=ledger, buffers=buffers))
