"""FLoRA (arXiv 2409.05976): stacked factors merged into the base of every client."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.lora.ledger import Ledger
from ilora_app.methods.client import ClientHalf, Shapes
from ilora_app.methods.in_base import InBase
from ilora_app.methods.state import Aggregate, GlobalState, Plan, Update, weights_of
from ilora_app.settings.limits import COORDINATES


class FLoRAClient(ClientHalf):
    """Draws new factors every round: A random, B = 0, so that B A = 0."""

    def start(
        self, received: Mapping[str, Tensor], shapes: Shapes, rank: int, seed: int
    ) -> AdapterState:
        """Make new factors of this client's rank; the head is the received one."""
        generator = torch.Generator().manual_seed(seed)
        factors = standard_factors(shapes, rank, generator)
        return AdapterState(factors, AdapterState.from_named_tensors(received).head)


class FLoRA(InBase):
    """W0 <- W0 + s sum_k p_k B_k A_k every round, for all clients alike.

    The clients' factors are stacked, B_c = [B_1 ... B_K] and
    A_c = [p_1 A_1; ...; p_K A_K], and their product goes into the base ledger: exact
    for any ranks. A client receives the increments it lacks, and starts from new
    factors of its own rank. Its increment is eta times that sum, and beta times the
    increment before.
    """

    client_half = FLoRAClient
    robust_refusals = dict.fromkeys(
        COORDINATES,
        "clients of flora draw factors of their own, whose numbers do not compare",
    )
    control_scopes = ("head",)
    control_refusal = (
        "flora draws new factors every round, so a control variate of the factors "
        "would be reset every round: control-scope = 'head' is what remains"
    )

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start at W0; the factors of the state stay zero and give the shapes."""
        zero = {
            module: (torch.zeros_like(B), torch.zeros_like(A))
            for module, (B, A) in initial.factors.items()
        }
        return GlobalState(
            AdapterState(LoraFactors(zero), initial.head), ledger=Ledger()
        )

    def plan(self, state: GlobalState) -> Plan:
        """Send the head and the base; everything trains and comes back."""
        return Plan(down=("head",))

    def extrapolate(self, update: Update, by: Mapping[str, float]) -> AdapterState:
        """c_l B_k A_k, as clients start from B_k A_k = 0, whatever their A_k."""
        adapter = update.adapter
        pairs = {m: (by.get(m, 1.0) * B, A) for m, (B, A) in adapter.factors.items()}
        whole = super().extrapolate(update, {"head": by.get("head", 1.0)})
        return AdapterState(LoraFactors(pairs), whole.head)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Append eta times the stacked factors and beta times the last increment."""
        parts = [update.adapter.factors for update in updates]
        weights = weights_of(updates)
        return self.append(state, updates, parts, weights, state.adapter.factors)
