"""Coordinate-wise median of the factors: one client cannot move it far."""

import torch

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.strategies.base import LoraStrategy
from ilora_app.strategies.state import Aggregate, GlobalState, Update, weights_of


class Median(LoraStrategy):
    """A and B are the medians, entry by entry, over the clients that hold the entry.

    A client of rank r_k holds the first r_k columns of B and rows of A. Numbers of
    examples do not count: whoever could raise its own would decide. Not exact: the
    product of medians is not the median of the products.
    """

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the medians of A and B; mean of the head."""
        rank = state.adapter.factors.rank
        parts = [update.adapter.factors for update in updates]
        pairs = {}
        for module, (B, A) in state.adapter.factors.items():
            B, A = B.clone(), A.clone()
            for j in range(rank):
                holders = [part[module] for part in parts if part.rank > j]
                if holders:  # else nobody trained this direction, and it stays
                    B[:, j] = (
                        torch.stack([b[:, j] for b, _ in holders]).median(0).values
                    )
                    A[j] = torch.stack([a[j] for _, a in holders]).median(0).values
            pairs[module] = (B, A)
        head = mean_head([u.adapter.head for u in updates], weights_of(updates))
        return Aggregate(state.next(AdapterState(LoraFactors(pairs), head)))
