"""The client half of a method: hooks that take and return plain values.

The default trains what it received and returns it: most methods need no other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor
from torch.optim import Optimizer

from ilora_app.lora.factors import AdapterState, only
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
        extra: what else goes back, by name; ``Method.extra`` checks it.

    """

    tensors: Mapping[str, Tensor]
    rank: int
    pruned: bool = False
    slots: Mapping[str, Tensor] = field(default_factory=dict)
    extra: Mapping[str, Tensor] = field(default_factory=dict)


class Watcher(Protocol):
    """Sees every step of an optimizer.

    As ``corrections.StepHook``: neither of the two rooms may import the other.
    """

    examples: int
    """Set by the training loop: the number of examples behind the next step."""

    def attach(self, optimizer: Optimizer) -> None:
        """Have an optimizer run it at every step."""


class ClientHalf:
    """What a method does on a client.

    Args:
        settings: of the method.

    Attributes:
        returns_all: of what has trained for the server, and not a part of it.

    """

    returns_all: ClassVar[bool] = True

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

    @classmethod
    def frozen(cls, tensors: Mapping[str, Tensor]) -> Collection[str]:
        """Names that no client trains nor returns, whatever the plan says.

        Args:
            tensors: all that a client trains from, by flat name.

        """
        return ()

    @classmethod
    def trained(
        cls, tensors: Mapping[str, Tensor], groups: Sequence[str]
    ) -> dict[str, Tensor]:
        """Those of some groups that are not frozen."""
        frozen = cls.frozen(tensors)
        chosen = only(tensors, groups)
        return {name: value for name, value in chosen.items() if name not in frozen}

    def watcher(self, tensors: Mapping[str, Tensor]) -> Watcher | None:
        """What sees every step of training; None for nothing.

        Args:
            tensors: parameters of the model by flat name, the frozen ones among them.

        """
        return None

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
