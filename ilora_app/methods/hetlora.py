"""HetLoRA (arXiv 2401.06432): padded sums by norm, and ranks that prune themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
    only,
)
from ilora_app.lora.spread import squared_norms
from ilora_app.methods.client import ClientHalf, Upload
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Plan,
    Share,
    UncheckedUpload,
    Update,
    UploadError,
    weights_of,
)
from ilora_app.settings import Settings


def tail_of(rank: int, gamma: float) -> int:
    """First index that pruning would take away: floor(gamma r), at least 1.

    It is r where nothing would be: at gamma = 1 or rank 1.
    """
    return max(1, int(gamma * rank))


class HetLoRAClient(ClientHalf):
    """Penalises the last directions, and drops them where they have shrunk."""

    def penalty(
        self, parameters: Mapping[str, Tensor], rank: int
    ) -> Callable[[], Tensor] | None:
        """Return lambda sum ||A[t:]|| ||B[:, t:]|| over layers, t = floor(gamma r)."""
        first = tail_of(rank, self.settings.hetlora_gamma)
        if first == rank or self.settings.hetlora_lambda == 0:
            return None

        def term() -> Tensor:
            factors = AdapterState.from_named_tensors(parameters).factors
            return self.settings.hetlora_lambda * _tail(factors, first)

        return term

    def finish(self, start: AdapterState, trained: AdapterState, rank: int) -> Upload:
        """Cut to floor(gamma r) if the product of the tails fell below its start."""
        first = tail_of(rank, self.settings.hetlora_gamma)
        if first < rank and _tail(trained.factors, first) < _tail(start.factors, first):
            return Upload(trained.cut(first).named_tensors(), first, pruned=True)
        return Upload(trained.named_tensors(), rank)


class HetLoRA(Method):
    r"""A = sum_k w_k pad(A_k), B = sum_k w_k pad(B_k); client k gets the first r_k.

    The weights w_k are proportional to ||B_k A_k||_F, over all layers together; p_k
    where all of them are zero. The head is averaged with p_k. Clients start at their
    own rank and may lower it, never raise it.
    """

    client_half = HetLoRAClient
    setting_keys = frozenset({"hetlora-gamma", "hetlora-lambda"})
    robust_refusals = dict.fromkeys(
        ("geometric-median",), "hetlora weighs clients by the norms of their products"
    )

    def __init__(self, *, gamma: float = 0.99) -> None:
        self.gamma = gamma

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read the pruning factor."""
        return {"gamma": settings.method.hetlora_gamma}

    def details(self) -> dict[str, object]:
        """Pruning factor."""
        return {"Gamma": self.gamma}

    def restore(
        self, sent: Share, plan: Plan, rank: int, upload: UncheckedUpload
    ) -> AdapterState:
        """Accept the rank that was sent, or the one that pruning leads to.

        Raises:
            UploadError: another rank, or tensors that are not of it.

        """
        adapter, found = sent.adapter, upload.rank
        allowed = {adapter.factors.rank, tail_of(adapter.factors.rank, self.gamma)}
        if found not in allowed:
            right = " or ".join(str(r) for r in sorted(allowed))
            raise UploadError(f"metrics: lora-rank is {found}, expected {right}")
        received = adapter.cut(found).named_tensors()
        trained = upload.tensors(only(received, plan.up))
        return AdapterState.from_named_tensors({**received, **trained})

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take sums of the padded factors by their norms; mean of the head."""
        parts = [update.adapter.factors for update in updates]
        norms = squared_norms(parts).sqrt()
        weights = weights_of(updates)
        total = float(norms.sum())
        by_norm = (norms / total).tolist() if total > 0 else weights
        adapter = AdapterState(
            beside(state.adapter.factors, mean_factors(parts, by_norm)),
            mean_head([u.adapter.head for u in updates], weights),
        )
        return Aggregate(state.next(adapter))


def _tail(factors: LoraFactors, first: int) -> Tensor:
    """Sum over the layers of ||A[first:]||_F ||B[:, first:]||_F."""
    products = [
        torch.linalg.vector_norm(A[first:]) * torch.linalg.vector_norm(B[:, first:])
        for _, (B, A) in factors.items()
    ]
    return torch.stack(products).sum()
