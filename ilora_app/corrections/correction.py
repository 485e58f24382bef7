"""What a drift correction may do: on the server, and on a client in one round."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor
from torch.optim import Optimizer

from ilora_app.corrections.shapes import Flat
from ilora_app.lora.factors import AdapterState, LoraFactors

NAME = "drift-correction"
"""Name of the correction among its facts."""


class Holder(NamedTuple):
    """A member of the federation: its node, the rank that it trains, its examples."""

    node: int
    rank: int
    examples: float


class StepHook(Protocol):
    """Sees every step of an optimizer and may change what it does."""

    examples: int
    """Set by the training loop: the number of examples behind the next step."""

    def attach(self, optimizer: Optimizer) -> None:
        """Have an optimizer run it at every step."""


class Correction:
    """Server half. One that sends nothing and keeps nothing leaves all as it is here.

    Attributes:
        name: value of ``drift-correction``.

    """

    name: ClassVar[str] = ""

    def begin(self, adapter: AdapterState) -> None:
        """Start over, in the shapes of the global model."""

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState | None:
        """What goes down at r_max, of which a client gets its rank; None: nothing.

        Args:
            holders: all members, in a fixed order.
            received: factors at r_max that are broadcast now.

        """
        return None

    def facts(self) -> dict[str, str | float]:
        """What a client half that is sent no tensors needs to know, its name first."""
        return {}

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return 0

    def aggregate(
        self,
        server_round: int,
        uploads: Mapping[int, Flat],
        received: LoraFactors,
        lost: Collection[int] = (),
    ) -> None:
        """Take what clients have uploaded.

        Args:
            server_round: the round of the uploads.
            uploads: by node, in order.
            received: factors at r_max that were broadcast.
            lost: nodes that had no state, or another than the server counts on.

        """

    def take_over(
        self, old: int, new: int, restored: bool, rank: int | None = None
    ) -> None:
        """Note that a node came back under another id, with its state or without."""

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, int]]:
        """What a checkpoint needs: tensors by name, and when uploads were taken."""
        return {}, {}

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, int],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""

    def __str__(self) -> str:
        return self.name


class ClientCorrection:
    """Client half, for one round: before the loss, before the step, after the round.

    Attributes:
        lost: the server counts on a state that is not here.
        wants_full_gradient: :meth:`finish` needs the gradient over all local data at
            the received model.

    """

    lost: bool = False
    wants_full_gradient: bool = False

    def penalty(self, parameters: Mapping[str, Tensor]) -> Callable[[], Tensor] | None:
        """A term of the loss over what is trained, from where it stands now."""
        return None

    def hook(self, parameters: Mapping[str, Tensor]) -> StepHook | None:
        """What sees every step of the optimizer."""
        return None

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """Keep what is the client's own, and return what goes up.

        Args:
            full_gradient: where it is wanted.
            rank: the client goes on with so many directions; None: with all.

        """
        return {}
