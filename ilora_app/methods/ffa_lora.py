"""FFA-LoRA (arXiv 2403.12313): A is drawn once and frozen for ever; B is averaged."""

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


class FFALoRA(Method):
    """B = sum_k p_k pad(B_k), with one random A for all clients and rounds.

    As A is shared, B A is the exact mean of the clients' products, also for unequal
    ranks: client k holds the first r_k rows of A and columns of B (padding with zeros
    is our extension). A is sent once; afterwards only B and the head go both ways.
    """

    def plan(self, state: GlobalState) -> Plan:
        """Train and return B and the head; A is kept by the clients."""
        trained = ("lora_B", "head")
        return Plan(trains=trained, up=trained, kept=("lora_A",))

    def sums(self, state: GlobalState) -> Sums:
        """Sums of padded factors."""
        return Sums(MEANS)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of B and the head; A stays as it is, to the last bit."""
        weights = weights_of(updates)
        old = state.adapter.factors
        means = mean_factors([u.adapter.factors for u in updates], weights)
        factors = LoraFactors(
            {m: (B, old[m][1]) for m, (B, _) in means.pad(old.rank).items()}
        )
        head = mean_head([u.adapter.head for u in updates], weights)
        return Aggregate(state.next(AdapterState(factors, head)))
