"""What methods share whose model is the base alone: factors only bring increments."""

from collections.abc import Sequence

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Share,
    Update,
    learned_in_base,
    weights_of,
)


class InBase(Method):
    """W0 <- W0 + s (eta sum_k p_k B_k A_k + beta times the last increment)."""

    server_step = "products"
    dora_refusal = (
        "what a round has learned goes into the base of every client, whose rows then "
        "have other lengths than the magnitudes that were trained"
    )

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """The base is the model, at every rank."""
        return AdapterState(learned_in_base(state), state.adapter.head)

    def evaluation_share(self, state: GlobalState, rank: int) -> Share:
        """The base and the head."""
        return Share(AdapterState(LoraFactors({}), state.adapter.head))

    def append(
        self,
        state: GlobalState,
        updates: Sequence[Update],
        parts: Sequence[LoraFactors],
        weights: Sequence[float],
        factors: LoraFactors,
    ) -> Aggregate:
        """Append the server's step along sum_j w_j B_j A_j to the base ledger.

        Args:
            state: that clients trained from.
            updates: of the round.
            parts: factors (B_j, A_j).
            weights: w_j.
            factors: of the next state.

        """
        assert state.ledger is not None
        eta = self.step.rate_of(updates)
        parts, by = list(parts), [eta * weight for weight in weights]
        if self.step.momentum and state.ledger.version:
            parts.append(LoraFactors(state.ledger.increments[-1]))
            by.append(self.step.momentum)
        mean = mean_head([u.adapter.head for u in updates], weights_of(updates))
        head, buffers = self.step.head(state, mean, eta)
        ledger = state.ledger.append_sum(parts, by)
        adapter = AdapterState(factors, head)
        return Aggregate(state.next(adapter, ledger=ledger, buffers=buffers))
