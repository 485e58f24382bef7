"""What a client keeps to itself of the model: in its state, and in no message."""

from torch import nn

from ilora_app.node.client_state import ClientState
from ilora_app.node.node import Node
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.private_adapter import PrivateAdapter, as_tensors, from_tensors

_PRIVATE = "private-adapter"


class PrivatePart:
    """The private adapter of one client, installed beside what it was sent.

    Args:
        node: the client.
        backbone: with the received model installed.
        state: of this client.

    """

    def __init__(self, node: Node, backbone: Backbone, state: ClientState) -> None:
        chosen = node.settings.model
        self._state = state
        self._adapter = PrivateAdapter(
            backbone, chosen.private_rank, chosen.private_weight
        )
        kept = state.tensors(_PRIVATE)
        held = from_tensors(kept) if kept else self._adapter.fresh(node.seed(0))
        self._adapter.install(held)

    def parameters(self) -> dict[str, nn.Parameter]:
        """That train beside the shared ones."""
        return self._adapter.parameters()

    def keep(self) -> None:
        """Remember it for the next round."""
        self._state.keep_tensors(_PRIVATE, as_tensors(self._adapter.collect()))


def private_part(
    node: Node, backbone: Backbone, state: ClientState
) -> PrivatePart | None:
    """Install the private adapter of a client; None where it has none."""
    if not node.settings.model.private_rank:
        return None
    return PrivatePart(node, backbone, state)
