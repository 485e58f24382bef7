"""FedSA-LoRA (arXiv 2410.01463): A is averaged, every client keeps a B of its own."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
)
from ilora_app.methods.client import ClientHalf, Shapes
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    MEANS,
    Aggregate,
    GlobalState,
    Plan,
    Sums,
    Update,
    weights_of,
)


class FedSALoRAClient(ClientHalf):
    """Trains both factors; B = 0 until this client has trained for the first time."""

    def start(
        self, received: Mapping[str, Tensor], shapes: Shapes, rank: int, seed: int
    ) -> AdapterState:
        """Take A and the head as received, and B from this client's memory."""
        flat = dict(received)
        for module, (d_out, _) in shapes.items():
            B = flat.get(f"{module}.lora_B", torch.zeros(d_out, 0))[:, :rank]
            missing = rank - B.shape[1]
            flat[f"{module}.lora_B"] = torch.nn.functional.pad(B, (0, missing))
        return AdapterState.from_named_tensors(flat)


class FedSALoRA(Method):
    """A = sum_k p_k pad(A_k); B_k never leaves its client.

    The result is personal: client k computes with B_k A[:r_k], and there is no global
    model. What is reported as accuracy is the mean over the clients' own models.
    Prefix and padding with zeros are our extension to unequal ranks.
    """

    client_half = FedSALoRAClient
    personal = True
    server_step = ""

    def plan(self, state: GlobalState) -> Plan:
        """Send and return A and the head; B stays with the client."""
        shared = ("lora_A", "head")
        return Plan(down=shared, up=shared, own=("lora_B",))

    def sums(self, state: GlobalState) -> Sums:
        """Sums of padded factors."""
        return Sums(MEANS)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of A and the head; the server's B stays zero."""
        weights = weights_of(updates)
        old = state.adapter.factors
        means = mean_factors([u.adapter.factors for u in updates], weights)
        pairs = {m: (old[m][0], A) for m, (_, A) in beside(old, means).items()}
        head = mean_head([u.adapter.head for u in updates], weights)
        return Aggregate(state.next(AdapterState(LoraFactors(pairs), head)))
