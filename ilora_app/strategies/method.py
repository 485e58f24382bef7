"""The mathematics of a strategy: hooks that take and return plain values."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import Settings
from ilora_app.strategies.client import ClientHalf
from ilora_app.strategies.federation import Member
from ilora_app.strategies.state import Aggregate, GlobalState, Plan, Share, Update


class Method(ABC):
    """What a method computes, with no grid and no network.

    Attributes:
        client_half: what the method does on a client.
        uses: run-config keys that are this method's own; others are refused.
        start_from: what ``initialisation`` may be; ``auto`` is the first.
        corrected: ``control-scope`` values under which control variates make sense.
        uncorrected: the sentence that says why others do not.
        corrects: ``drift-correction = "auto"`` means control variates.
        personal: clients end with models of their own, and there is no global one.
        whole_model: every weight is trained, and there are no factors.

    """

    client_half: ClassVar[type[ClientHalf]] = ClientHalf
    uses: ClassVar[frozenset[str]] = frozenset()
    start_from: ClassVar[tuple[str, ...]] = ("standard",)
    corrected: ClassVar[tuple[str, ...]] = ("all", "head", "factors")
    uncorrected: ClassVar[str] = ""
    corrects: ClassVar[bool] = False
    personal: ClassVar[bool] = False
    whole_model: ClassVar[bool] = False

    def begin(self, initial: AdapterState) -> GlobalState:
        """Make the global model before round 1 from the initial arrays."""
        return GlobalState(initial)

    def plan(self, state: GlobalState) -> Plan:
        """Say what goes down, trains, and comes up in the next round."""
        return Plan()

    def members(self, state: GlobalState, present: list[Member]) -> list[Member]:
        """Who may be asked to train, of the members that are connected."""
        return present

    def share(self, state: GlobalState, rank: int) -> Share:
        """Cut what a client of ``rank`` trains from."""
        return Share(state.adapter.cut(rank))

    def trained_rank(self, state: GlobalState, rank: int) -> int:
        """Rank of the factors that a client of ``rank`` trains."""
        return rank

    @abstractmethod
    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Make the next global model from checked updates, in a fixed order."""

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """What a client of ``rank`` would hold, as plain LoRA on W0; None: global."""
        own = state.adapter if rank is None else self.share(state, rank).adapter
        if state.ledger is None:
            return own
        return AdapterState(state.ledger.as_factors(own.factors), own.head)

    def evaluated(self, state: GlobalState, rank: int) -> Share:
        """What a client of ``rank`` evaluates, on top of T where there is a ledger."""
        if state.ledger is not None:
            return self.share(state, rank)
        return Share(self.model(state, rank))

    def details(self) -> dict[str, object]:
        """Settings of this method alone, for the log."""
        return {}

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Constructor arguments of this method alone, from the run config."""
        return {}
