"""FedAvg (arXiv 1602.05629) on all weights: the bound without adapters."""

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods.method import Method
from ilora_app.methods.server_step import AUTO
from ilora_app.methods.state import (
    MEANS,
    Aggregate,
    GlobalState,
    Sums,
    Update,
    weights_of,
)
from ilora_app.settings import Settings
from ilora_app.settings.head import TRAINED


class FedAvgFull(Method):
    """W = sum_k p_k W_k for every parameter of the model; there are no factors.

    All parameters travel and are kept as the head is in other methods. Exact, and the
    one method whose messages are as large as the model.
    """

    control_scopes = ("all",)
    rounding_refusal = (
        "fedavg-full sends every weight of the model, and rounding moves these further "
        "than training does"
    )
    dora_refusal = "fedavg-full trains every weight, and has no adapters"
    control_refusal = (
        "fedavg-full has no factors apart from a head: control-scope = 'all'"
    )
    whole_model = True
    head_by_default = TRAINED

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Refuse a rate that is read off factors."""
        if settings.method.server_rate != AUTO:
            return {}
        right = "expected a number, as fedavg-full has no factors to read auto off"
        return {"server-rate": f"server-rate = {AUTO!r}: {right}"}

    def sums(self, state: GlobalState) -> Sums:
        """Means of all parameters."""
        return Sums(MEANS)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the mean of every parameter."""
        mean = mean_head([u.adapter.head for u in updates], weights_of(updates))
        return Aggregate(state.next(AdapterState(LoraFactors({}), mean)))
