"""RoLoRA (arXiv 2502.01755): B and A take turns to be trained and averaged."""

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_factors, mean_head
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    MEANS,
    Aggregate,
    GlobalState,
    Plan,
    Sums,
    Update,
    weights_of,
)


def turn(state: GlobalState) -> str:
    """Factor of the next round: B in the first, third, ..., A in the others."""
    return "lora_A" if state.step % 2 else "lora_B"


class RoLoRA(Method):
    """Odd rounds average B with A frozen, even rounds A with B frozen.

    One factor is shared in every round, so B A is the exact mean of the clients'
    products, also for unequal ranks (prefix and padding with zeros are our extension).
    Only the factor of the round comes back, and only the one that has changed is sent.
    A round without a usable reply does not count: its factor has the next turn too. A
    row of A that no reply of its turn held stays as it is [choice]: with a column of B
    that goes in another round both would be zero, and neither would have a gradient.
    """

    def plan(self, state: GlobalState) -> Plan:
        """Train and return one factor and the head; clients keep both factors."""
        trained = (turn(state), "head")
        return Plan(trains=trained, up=trained, kept=("lora_B", "lora_A"))

    def sums(self, state: GlobalState) -> Sums:
        """Sums of padded factors."""
        return Sums(MEANS)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of the factor whose turn it is, and of the head."""
        weights = weights_of(updates)
        old = state.adapter.factors
        means = mean_factors([u.adapter.factors for u in updates], weights)
        fresh = means.pad(old.rank)
        if turn(state) == "lora_B":
            pairs = {m: (fresh[m][0], old[m][1]) for m in old.pairs}
        else:
            pairs = {m: (old[m][0], _kept(old[m][1], fresh[m][1])) for m in old.pairs}
        head = mean_head([u.adapter.head for u in updates], weights)
        return Aggregate(state.next(AdapterState(LoraFactors(pairs), head)))


def _kept(old: Tensor, mean: Tensor) -> Tensor:
    """The mean of A, with the rows before where nobody held them."""
    return torch.where(mean.any(dim=1, keepdim=True), mean, old.to(mean))
