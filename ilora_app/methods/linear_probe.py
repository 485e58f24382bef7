"""A linear probe: the bound without any training."""

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Plan, Share, Update


class LinearProbe(Method):
    """Ridge regression on the features of the frozen model; no factors, no rounds.

    Its head is always ``ridge``. What a federation of LoRA does not beat is not worth
    its rounds: they are run all the same, so that clients measure the model as they do
    others, and only the head is sent, once.
    """

    control_scopes = ()
    rounding_refusal = (
        "linear-probe trains nothing, and sums for its head stay as they are"
    )
    dora_refusal = "linear-probe trains nothing"
    drifts = False
    server_step = ""
    control_refusal = "linear-probe trains nothing, and has no drift to correct"
    trains = False

    def plan(self, state: GlobalState) -> Plan:
        """Send the head; nothing trains, and nothing comes back."""
        return Plan(down=("head",), trains=(), up=())

    def share(self, state: GlobalState, rank: int) -> Share:
        """The head, whatever the rank."""
        return Share(AdapterState(LoraFactors({}), state.adapter.head))

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """W0 and the head; factors with B A = 0 at the rank, for the export."""
        return state.adapter if rank is None else state.adapter.cut(rank)

    def evaluation_share(self, state: GlobalState, rank: int) -> Share:
        """The head."""
        return self.share(state, rank)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Leave everything as it is."""
        return Aggregate(state.next(state.adapter))
