"""The client half of a method: hooks that take and return plain values.

The default trains what it received and returns it: most methods need no other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import MethodSettings

Shapes = Mapping[str, tuple[int, int]]
"""Module -> (d_out, d_in) of every adapted layer."""


@dataclass(frozen=True)
class Upload:
    """What a client half returns of a round.

    Attributes:
        tensors: by flat name; the plan's groups, cut or selected as the method does.
        rank: of the factors from now on.
        slots: module -> mask of shape (r,) of the slots sent; empty where all are.
        pruned: the client gives up the directions beyond ``rank``.

    """

    tensors: Mapping[str, Tensor]
    rank: int
    pruned: bool = False
    slots: Mapping[str, Tensor] = field(default_factory=dict)


class ClientHalf:
    """What a method does on a client.

    Args:
        settings: of the method.

    """

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    def start(
        self, received: Mapping[str, Tensor], shapes: Shapes, rank: int, seed: int
    ) -> AdapterState:
        """Make what training starts from.

        Args:
            received: tensors by flat name, from the server or this client's memory.
            shapes: of the adapted layers.
            rank: r_k.
            seed: of this client in this round.

        """
        return AdapterState.from_named_tensors(received)

    def penalty(
        self, parameters: Mapping[str, Tensor], rank: int
    ) -> Callable[[], Tensor] | None:
        """Build a term of the loss over the trained parameters; None for none."""
        return None

    def finish(self, start: AdapterState, trained: AdapterState, rank: int) -> Upload:
        """Choose what goes back to the server.

        Args:
            start: what training started from.
            trained: what it came to, of the same shapes.
            rank: r_k, as the server gave it.

        """
        return Upload(trained.named_tensors(), rank)
