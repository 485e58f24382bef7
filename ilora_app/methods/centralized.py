"""Centralized training: the bound that pools what a federation keeps apart."""

from collections.abc import Sequence

from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Plan, Update
from ilora_app.settings import Settings


class Centralized(Method):
    """LoRA at r_max on the data of all clients together, in one place.

    One client trains on the training examples of all partitions, with as many local
    steps a round as all clients of a federation take together. Only a simulation has
    the partitions of others at hand.
    """

    control_scopes = ()
    drifts = False
    server_step = ""
    control_refusal = "centralized has one client, and no drift to correct"

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Refuse to wait for more clients than one."""
        least = settings.limits.min_replies
        if least <= 1:
            return {}
        right = "expected 1, as centralized trains on one client"
        return {"min-replies": f"min-replies = {least}: {right}"}

    def plan(self, state: GlobalState) -> Plan:
        """Train everything, on everything."""
        return Plan(pooled=True)

    def participants(
        self, state: GlobalState, ranks: Sequence[int]
    ) -> list[tuple[int, int]]:
        """The first client, at r_max."""
        return [(0, state.adapter.factors.rank)][: len(ranks)]

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take what the one client has trained."""
        return Aggregate(state.next(updates[0].adapter))
