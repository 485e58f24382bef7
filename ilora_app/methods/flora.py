"""FLoRA (arXiv 2409.05976): stacked factors merged into the base of every client."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head, stack
from ilora_app.lora.initialisation import standard_factors
from ilora_app.lora.ledger import Ledger
from ilora_app.methods.client import ClientHalf, Shapes
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Plan,
    Share,
    Update,
    learned_in_base,
    weights_of,
)


class FLoRAClient(ClientHalf):
    """Draws new factors every round: A random, B = 0, so that B A = 0."""

    def start(
        self, received: Mapping[str, Tensor], shapes: Shapes, rank: int, seed: int
    ) -> AdapterState:
        """Make new factors of this client's rank; the head is the received one."""
        generator = torch.Generator().manual_seed(seed)
        factors = standard_factors(shapes, rank, generator)
        return AdapterState(factors, AdapterState.from_named_tensors(received).head)


class FLoRA(Method):
    """W0 <- W0 + s sum_k p_k B_k A_k every round, for all clients alike.

    The clients' factors are stacked, B_c = [B_1 ... B_K] and
    A_c = [p_1 A_1; ...; p_K A_K], and their product goes into the base ledger: exact
    for any ranks. A client receives the increments it lacks, and starts from new
    factors of its own rank. Its increment is eta times that sum, and beta times the
    increment before.
    """

    client_half = FLoRAClient
    server_step = "products"
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

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """The base is the model, at every rank."""
        return AdapterState(learned_in_base(state), state.adapter.head)

    def evaluation_share(self, state: GlobalState, rank: int) -> Share:
        """The base and the head."""
        return Share(AdapterState(LoraFactors({}), state.adapter.head))

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Append eta times the stacked factors and beta times the last increment."""
        assert state.ledger is not None
        weights, eta = weights_of(updates), self.step.rate_of(updates)
        parts = [u.adapter.factors for u in updates]
        by = [eta * weight for weight in weights]
        if self.step.momentum and state.ledger.version:
            parts.append(LoraFactors(state.ledger.increments[-1]))
            by.append(self.step.momentum)
        mean = mean_head([u.adapter.head for u in updates], weights)
        head, buffers = self.step.head(state, mean, eta)
        adapter = AdapterState(state.adapter.factors, head)
        ledger = state.ledger.append(stack(parts, by).pairs)
        return Aggregate(state.next(adapter, ledger=ledger, buffers=buffers))
