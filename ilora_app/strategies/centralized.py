"""Centralized training: the bound that pools what a federation keeps apart."""

from dataclasses import replace

from ilora_app.strategies.base import LoraStrategy
from ilora_app.strategies.federation import Member
from ilora_app.strategies.state import Aggregate, GlobalState, Plan, Update


class Centralized(LoraStrategy):
    """LoRA at r_max on the data of all clients together, in one place.

    One client trains on the training examples of all partitions, with as many local
    steps a round as all clients of a federation take together. Only a simulation has
    the partitions of others at hand.
    """

    corrected = ()
    uncorrected = "centralized has one client, and no drift to correct"

    def plan(self, state: GlobalState) -> Plan:
        """Train everything, on everything."""
        return Plan(pooled=True)

    def members(self, state: GlobalState, present: list[Member]) -> list[Member]:
        """The first member, at r_max."""
        rank = state.adapter.factors.rank
        return [replace(member, rank=rank) for member in present[:1]]

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take what the one client has trained."""
        return Aggregate(state.next(updates[0].adapter))
