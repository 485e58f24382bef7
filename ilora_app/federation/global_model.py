"""The global model of a run, and what each node holds of it."""

from collections.abc import Mapping
from dataclasses import replace

from flwr.app import ArrayRecord
from torch import Tensor

from ilora_app import wire
from ilora_app.federation.client_versions import ClientVersions
from ilora_app.lora.factors import AdapterState
from ilora_app.methods import Method
from ilora_app.methods.state import Aggregate, GlobalState, Plan

_HEAD = "head"


class GlobalModel:
    """Holds the state of a method from round to round.

    Args:
        method: whose state it is.
        frozen_head: clients train the factors alone: the head is sent when it has
            changed, and is neither trained, returned nor averaged.

    """

    def __init__(self, method: Method, frozen_head: bool = False) -> None:
        self._method = method
        self._frozen = frozen_head
        self._state: GlobalState | None = None
        self.versions = ClientVersions()
        self.head_solved = False

    @property
    def state(self) -> GlobalState:
        """The state after the last round.

        Raises:
            RuntimeError: there is none yet.

        """
        if self._state is None:
            raise RuntimeError("no global model yet: begin() or start() comes first")
        return self._state

    @property
    def has_begun(self) -> bool:
        """Whether there is a state."""
        return self._state is not None

    def begin(self, initial: AdapterState) -> None:
        """Make the state before round 1; nobody holds any of it yet.

        Raises:
            ValueError: the method does not start from such arrays.

        """
        self._method.check_start(initial)
        self._state = self._method.begin(initial).contiguous()
        self.versions = ClientVersions()

    def resume(
        self, state: GlobalState, versions: ClientVersions, head_solved: bool
    ) -> None:
        """Go on from a state of before."""
        self._state, self.versions = state, versions
        self.head_solved = head_solved

    def plan(self) -> Plan:
        """What goes down, trains, and comes up in the next round."""
        plan = self._method.plan(self.state)
        if not self._frozen:
            return plan

        def without(groups: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(group for group in groups if group != _HEAD)

        return replace(
            plan,
            trains=without(plan.trains),
            up=without(plan.up),
            own=without(plan.own),
            kept=(*without(plan.kept), _HEAD),
        )

    def keep_frozen_head(self, made: Aggregate) -> Aggregate:
        """Give a frozen head its own numbers: a mean of equal ones may round."""
        if not self._frozen:
            return made
        factors = made.state.adapter.factors
        adapter = AdapterState(factors, self.state.adapter.head)
        return replace(made, state=replace(made.state, adapter=adapter))

    def replace_head(self, head: Mapping[str, Tensor]) -> None:
        """Put another head in the place of the one there is."""
        adapter = AdapterState(self.state.adapter.factors, dict(head))
        self.advance(replace(self.state, adapter=adapter))
        self.head_solved = True

    def adapter(self, rank: int | None = None) -> AdapterState:
        """As plain LoRA on the untouched base; what a rank holds, or all of it."""
        return self._method.model(self.state, rank)

    def arrays(self) -> ArrayRecord:
        """The whole model, for Flower."""
        return wire.model_record(self.adapter().named_tensors())

    def advance(self, state: GlobalState) -> None:
        """Take the state of the next round."""
        self.versions.advance(self.state.adapter, state.adapter)
        self._state = state.contiguous()
