"""The mathematics of a strategy: hooks that take and return plain values."""

from abc import ABC, abstractmethod
from typing import Any

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import Settings
from ilora_app.strategies.state import Aggregate, GlobalState, Share, Update


class Method(ABC):
    """What a method computes, with no grid and no network."""

    @abstractmethod
    def begin(self, initial: AdapterState) -> GlobalState:
        """Make the global model before round 1 from the initial arrays."""

    @abstractmethod
    def share(self, state: GlobalState, rank: int) -> Share:
        """Cut what a client of ``rank`` trains from."""

    @abstractmethod
    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Make the next global model from checked updates, in a fixed order."""

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """What a client of ``rank`` would hold, as plain LoRA on W0; None: global."""
        return state.adapter if rank is None else self.share(state, rank).adapter

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Constructor arguments of this method alone, from the run config."""
        return {}
