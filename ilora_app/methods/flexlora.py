"""FlexLoRA (arXiv 2402.11505): SVD of the exact mean, cut to every client's rank."""

from dataclasses import replace
from typing import Any

import torch

from ilora_app.lora.bases import complete_basis
from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods.increments import returned_terms
from ilora_app.methods.method import Method
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import (
    DENSE,
    SKETCH,
    Aggregate,
    GlobalState,
    Sums,
    Update,
    weights_of,
)
from ilora_app.settings import Settings
from ilora_app.settings.head import AUTO
from ilora_app.settings.method import AGGREGATES, PRODUCTS


class FlexLoRA(Method):
    """D = sum_k p_k B_k A_k = U S V^T; B = U_r S_r, A = V_r^T, client k gets r_k of it.

    Exact up to the cut, which is the best of its rank. The SVD goes through the
    rho x rho core of the stacked factors. Directions that D does not have get B = 0 and
    orthonormal rows of A, so that they can still be trained.

    With ``aggregate="increments"`` D is D_t-1 + eta sum_k p_k (B_k A_k - P_k) +
    beta (D_t-1 - D_t-2), P_k being the product that client k received.

    Args:
        aggregate: ``products`` (the paper) or ``increments``.
        step: eta and beta, for increments.

    Raises:
        ValueError: another aggregate, or a step without increments.

    """

    setting_keys = frozenset({"control-basis", "aggregate"})
    server_step = "products"

    def __init__(
        self, *, aggregate: str = PRODUCTS, step: ServerStep | None = None
    ) -> None:
        if aggregate not in AGGREGATES:
            raise ValueError(f"aggregate {aggregate!r}: one of {AGGREGATES}")
        self.increments = aggregate == "increments"
        self.step = step or ServerStep()
        if not (self.increments or self.step.is_plain):
            raise ValueError(f"step {step}: needs aggregate = 'increments'")

    @classmethod
    def resolved(cls, settings: Settings) -> Settings:
        """Products are summed, as published."""
        settings, chosen = super().resolved(settings), settings.method
        if chosen.aggregate == AUTO:
            chosen = replace(chosen, aggregate=PRODUCTS)
        return replace(settings, method=chosen)

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read what is summed."""
        return {"aggregate": settings.method.aggregate}

    def details(self) -> dict[str, object]:
        """What is summed."""
        return {"Aggregate": "increments" if self.increments else "products"}

    def sums(self, state: GlobalState) -> Sums:
        """Sums of products, or of their changes."""
        return Sums(SKETCH, self.increments)

    def noisy_sums(self, state: GlobalState) -> Sums:
        """All numbers of the products, as it decomposes their dense sum."""
        return replace(self.sums(state), kind=DENSE)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Stack, decompose, cut to r_max; mean of the head."""
        weights = weights_of(updates)
        rank = state.adapter.factors.rank
        parts, eta = returned_terms(updates), 1.0
        if self.increments:
            eta = self.step.rate_of(updates)
            start = [(state.adapter.factors, 1.0)]
            parts = self.step.of_products(state, updates, start, eta)
        factors, by = [part for part, _ in parts], [weight for _, weight in parts]
        cut, energy = truncate_mean(factors, by, rank, "svd")
        mean = mean_head([u.adapter.head for u in updates], weights)
        head, buffers = self.step.head(state, mean, eta)
        adapter = AdapterState(singular_vectors(cut), head)
        buffers |= self.step.remember(state.adapter.factors)
        return Aggregate(state.next(adapter, buffers=buffers), energy)


def singular_vectors(cut: LoraFactors) -> LoraFactors:
    """(U, S V^T) as B = U S and A = V^T, with orthonormal rows where S is zero."""
    pairs = {}
    for module, (U, SV) in cut.items():
        S = torch.linalg.vector_norm(SV, dim=1)  # (r,)
        there = S > 0
        rows = SV / torch.where(there, S, torch.ones_like(S)).unsqueeze(1)
        A = complete_basis(rows.T, there).T  # (r, d_in)
        pairs[module] = ((U * S).float(), A.float())
    return LoraFactors(pairs)
