"""What a drift correction may do: on the server, and on a client in one round."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor
from torch.optim import Optimizer

from ilora_app.corrections.parts import Parts
from ilora_app.corrections.shapes import Flat, norm, times
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import TrainingSettings

NAME = "drift-correction"
"""Name of the correction among its facts."""


class Holder(NamedTuple):
    """A member of the federation: its node, the rank that it trains, its examples."""

    node: int
    rank: int
    examples: float


@dataclass(frozen=True)
class Returned:
    """What came back in a round.

    Attributes:
        round: of the server.
        uploads: of the client halves, by node, in order.
        received: factors at r_max that were broadcast.
        lost: nodes that had no state, or another than the server counts on.
        moved: by node, how far what it returned is from what it received; empty where
            the correction does not follow it.
        weights: p_k by node.

    """

    round: int
    uploads: Mapping[int, Flat]
    received: LoraFactors
    lost: Collection[int] = ()
    moved: Mapping[int, Flat] = field(default_factory=dict)
    weights: Mapping[int, float] = field(default_factory=dict)


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
        follows: :meth:`aggregate` reads how far clients have moved.
        remembers: a client keeps what its upload has made, so that it is taken whole or
            not at all.
        rounds: what goes down and up may be rounded on its way; the client half then
            goes on with what :meth:`ClientCorrection.arrives` is told.

    """

    name: ClassVar[str] = ""
    follows: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    rounds: ClassVar[bool] = False

    def keep_in(self, store: Parts) -> None:
        """Keep what clients bring there, and not in memory; :meth:`begin` follows."""

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

    def more(self) -> Mapping[str, AdapterState]:
        """What else goes down at r_max, by the prefix of its names."""
        return {}

    def facts(self) -> dict[str, str | float | list[float]]:
        """What the client half needs to know beside tensors, its name first."""
        return {}

    def expects(self, sent: Flat, returned: Flat) -> Flat:
        """What a client uploads, as tensors of the names and shapes that are right.

        Args:
            sent: what it was sent.
            returned: what else it returns, at its rank.

        """
        return sent

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return 0

    def brought(self, node: int, upload: Flat, received: LoraFactors) -> Flat:
        """All that a node will have brought if its upload is taken.

        Args:
            node: its id.
            upload: of this round.
            received: the factors that it was sent.

        """
        return upload

    def sizes(self, upload: Flat) -> dict[str, float]:
        """Norms of an upload, by what they are of: each has a limit of its own."""
        return {"correction": norm(upload)}

    def within(self, upload: Flat, parts: Mapping[str, float]) -> Flat:
        """Take an upload so far that :meth:`sizes` are these parts of what they are."""
        return {name: times(v, parts["correction"]) for name, v in upload.items()}

    def aggregate(self, found: Returned) -> None:
        """Take what clients have uploaded."""

    def step(self, before: AdapterState, mean: AdapterState) -> AdapterState:
        """The next global model, from the last and what the method made of a round.

        :meth:`aggregate` of the round comes first.
        """
        return mean

    def take_over(
        self, old: int, new: int, restored: bool, rank: int | None = None
    ) -> None:
        """Note that a node came back under another id, with its state or without."""

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """What a checkpoint needs: tensors by name, and facts by name of a node."""
        return {}, {}

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
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
        rounds: as of the server half.
        most_directions: that may go up, where the server sees sums alone and fewer
            than its least number of clients hold those beyond; None: all.

    """

    rounds: ClassVar[bool] = False
    lost: bool = False
    wants_full_gradient: bool = False
    most_directions: int | None = None

    @property
    def trains_apart(self) -> bool:
        """Whether a client with it cannot train as one batch with others."""
        kind, plain = type(self), ClientCorrection
        return (
            self.wants_full_gradient
            or kind.optimizer is not plain.optimizer
            or kind.gradient is not plain.gradient
        )

    def penalty(self, parameters: Mapping[str, Tensor]) -> Callable[[], Tensor] | None:
        """A term of the loss over what is trained, from where it stands now."""
        return None

    def hook(self, parameters: Mapping[str, Tensor]) -> StepHook | None:
        """What sees every step of the optimizer."""
        return None

    def optimizer(
        self, parameters: Mapping[str, Tensor], everything: Collection[str]
    ) -> Callable[[Iterable[Any], TrainingSettings], Optimizer] | None:
        """What makes the optimizer of the round; None leaves it to the settings.

        Args:
            parameters: that train, by flat name.
            everything: names of all that a model holds, whether it trains or not.

        """
        return None

    def gradient(
        self, parameters: Mapping[str, Tensor]
    ) -> Callable[[Callable[[], Tensor]], Tensor] | None:
        """What runs the passes of every step; None runs one.

        It is given a function that adds the gradient of the step's loss, where the
        parameters stand, to ``.grad`` and returns the loss; it leaves what the
        optimizer is to see in ``.grad``, and returns the loss where it began.
        """
        return None

    def again(self) -> AdapterState | None:
        """Another start, from which the client trains the same steps once more."""
        return None

    def trained_again(self, end: AdapterState) -> None:
        """Note where training from :meth:`again` has ended."""

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

    def arrives(self, uploads: Flat) -> None:
        """Note what the server will read of what :meth:`finish` has returned."""
