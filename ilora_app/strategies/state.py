"""Plain values that the mathematics of a strategy takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.strategies.federation import Member


@dataclass(frozen=True)
class GlobalState:
    """The server's model: W0 + s (B A - L R) in every adapted layer, and the head.

    Attributes:
        adapter: factors (B, A) of rank r_max, as they are trained on, and the head.
        taken_out: (L, R) of every layer, shapes (d_out, r_max) and (r_max, d_in): what
            the factors still contain of the QR start, with R the leading rows of the
            QR of W0; None where training starts from B A = 0.
        fresh: nothing has been aggregated into it yet.

    """

    adapter: AdapterState
    taken_out: LoraFactors | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Share:
    """What one client trains from: W0 + s (B A - B C R), with B the received one.

    Attributes:
        adapter: factors of the client's rank r_k, and the head.
        offset: module -> C of shape (r_k, r_max), so that B C R is what the client
            takes out of its base; empty where nothing is.

    """

    adapter: AdapterState
    offset: Mapping[str, Tensor] = field(default_factory=dict)

    def named_tensors(self) -> dict[str, Tensor]:
        """One flat dictionary, as it goes over the wire."""
        flat = self.adapter.named_tensors()
        flat.update({wire.OFFSET + module: C for module, C in self.offset.items()})
        return flat

    @classmethod
    def from_named_tensors(cls, flat: Mapping[str, Tensor]) -> "Share":
        """Rebuild from :meth:`named_tensors`."""
        offset = {
            name.removeprefix(wire.OFFSET): value
            for name, value in flat.items()
            if name.startswith(wire.OFFSET)
        }
        rest = {n: v for n, v in flat.items() if not n.startswith(wire.OFFSET)}
        return cls(AdapterState.from_named_tensors(rest), offset)


@dataclass(frozen=True)
class Update:
    """What one client returned, checked.

    Attributes:
        member: who sent it.
        received: what the client started from.
        adapter: what it has trained, of the same shapes.
        examples: n_k, its training examples.
        loss: mean training loss of its local steps.
        seconds: its training time.
        correction: what its drift correction uploads; empty without one.

    """

    member: Member
    received: Share
    adapter: AdapterState
    examples: float
    loss: float
    seconds: float
    correction: Mapping[str, Tensor]


@dataclass(frozen=True)
class Aggregate:
    """What a strategy makes of a round's updates.

    Attributes:
        state: the next global model.
        energy: part of ||D||_F^2 that the first j directions hold, for j = 1..r_max;
            None where nothing is cut.

    """

    state: GlobalState
    energy: tuple[float, ...] | None = None


def weights_of(updates: list[Update]) -> list[float]:
    """p_k = n_k / sum of n_j over the clients that replied."""
    total = sum(update.examples for update in updates)
    return [update.examples / total for update in updates]
