"""Plain values that the mathematics of a strategy takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState
from ilora_app.strategies.federation import Member


@dataclass(frozen=True)
class ModelState:
    """A model in the terms of its untouched base W0.

    Every adapted layer computes W0 x + s (B A - Q diag(m) R) x, with (B, A) in
    ``adapter``, Q R the leading QR directions of W0, and m in ``offset``: how much of
    each direction the factors still contain from the initialisation.

    Attributes:
        adapter: factors of rank r, and the head.
        offset: module -> m of shape (r,); empty where training starts from B A = 0.
        fresh: nothing has been aggregated into it yet. Known to the server only.

    """

    adapter: AdapterState
    offset: Mapping[str, Tensor]
    fresh: bool = False

    def cut(self, rank: int) -> "ModelState":
        """Cut factors and offset to ``rank``."""
        offset = {module: m[:rank] for module, m in self.offset.items()}
        return ModelState(self.adapter.cut(rank), offset, self.fresh)

    def named_tensors(self) -> dict[str, Tensor]:
        """One flat dictionary, as it goes over the wire."""
        flat = self.adapter.named_tensors()
        flat.update({wire.OFFSET + module: m for module, m in self.offset.items()})
        return flat

    @classmethod
    def from_named_tensors(cls, flat: Mapping[str, Tensor]) -> "ModelState":
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
    received: ModelState
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

    state: ModelState
    energy: tuple[float, ...] | None = None


def weights_of(updates: list[Update]) -> list[float]:
    """p_k = n_k / sum of n_j over the clients that replied."""
    total = sum(update.examples for update in updates)
    return [update.examples / total for update in updates]
