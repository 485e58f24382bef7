"""FedEx-LoRA (arXiv 2410.09432): means of the factors, and the residual in the base."""

import torch

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    mean_factors,
    mean_head,
    stack,
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
    """

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start from B A = 0 and W0."""
        return GlobalState(initial, ledger=Ledger())

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of the factors and the head; the residual to the ledger."""
        assert state.ledger is not None
        weights = weights_of(updates)
        parts = [update.adapter.factors.to(torch.float64) for update in updates]
        means = mean_factors(parts, weights).pad(state.adapter.factors.rank)
        negative = LoraFactors({m: (-B, A) for m, (B, A) in means.items()})
        residual = stack([*parts, negative], [*weights, 1.0])
        head = mean_head([u.adapter.head for u in updates], weights)
        ledger = state.ledger.append(residual.pairs)
        adapter = AdapterState(means.to(torch.float32), head)
        return Aggregate(state.next(adapter, ledger=ledger))
