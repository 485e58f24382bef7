"""Local training: the bound without federation."""

from ilora_app.methods.method import Method
from ilora_app.methods.state import Aggregate, GlobalState, Plan, Update
from ilora_app.settings import Settings
from ilora_app.settings.head import TRAINED


class Local(Method):
    """Every client trains LoRA at its own rank on its own data, and shares nothing.

    All start from the same model, which is sent once. What is reported as accuracy is
    the mean over the clients' own models.
    """

    control_scopes = ()
    rounding_refusal = "under local nothing is sent but the start"
    drifts = False
    head_by_default = TRAINED
    server_step = ""
    control_refusal = "local clients share nothing, so there is nothing to drift from"
    personal = True

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Refuse a limit on what is never sent."""
        limit = settings.limits.max_update_norm
        if not limit:
            return {}
        why = "is not used, as local clients send nothing"
        return {"max-update-norm": f"max-update-norm = {limit:g}: {why}"}

    def plan(self, state: GlobalState) -> Plan:
        """Nothing comes back, and nothing goes down after the first time."""
        everything = ("lora_B", "lora_A", "head")
        return Plan(up=(), own=everything, kept=everything)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Leave the start as it is."""
        return Aggregate(state.next(state.adapter))
