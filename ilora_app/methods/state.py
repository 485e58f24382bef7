"""Plain values that a method takes and returns: tensors and numbers, no messages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ilora_app.lora.factors import GROUPS, AdapterState, LoraFactors, Pair
from ilora_app.lora.ledger import Ledger


@dataclass(frozen=True)
class GlobalState:
    """The server's model: W0 + s (T + B A - L R) in every adapted layer, and the head.

    Attributes:
        adapter: factors (B, A) of rank r_max, as they are trained on, and the head.
        offset: (L, R) of every layer, shapes (d_out, r_max) and (r_max, d_in): what
            the factors still contain of the QR start, with R the leading rows of the
            QR of W0; None where training starts from B A = 0.
        ledger: T, what clients add to their frozen base; None where the base stays.
        step: how many rounds have been aggregated into it.
        buffers: what a method keeps for itself from round to round, by name (server
            momentum, second moments); in every checkpoint.

    """

    adapter: AdapterState
    offset: LoraFactors | None = None
    ledger: Ledger | None = None
    step: int = 0
    buffers: Mapping[str, Tensor] = field(default_factory=dict)

    def next(self, adapter: AdapterState, **changes: Any) -> "GlobalState":
        """Make the state after one more aggregation; what is not named stays."""
        return replace(self, adapter=adapter, step=self.step + 1, **changes)

    def contiguous(self) -> "GlobalState":
        """Lay out every tensor row by row, as a checkpoint would bring it back.

        A product of matrices may differ in its last bits with the layout of a factor.
        """
        return replace(
            self,
            adapter=self.adapter.contiguous(),
            offset=self.offset and self.offset.contiguous(),
            ledger=self.ledger and self.ledger.contiguous(),
            buffers={name: value.contiguous() for name, value in self.buffers.items()},
        )


@dataclass(frozen=True)
class Plan:
    """What goes down, trains, and comes up in a round, by group of tensors.

    Attributes:
        down: groups that the server sends.
        trains: groups that the client trains; all others stay as they are.
        up: groups that the client returns.
        own: groups that the client keeps for itself from round to round.
        kept: groups that the client keeps as received, so that the server sends them
            again only when they have changed.
        pooled: the client trains on the data of all partitions.

    """

    down: tuple[str, ...] = GROUPS
    trains: tuple[str, ...] = GROUPS
    up: tuple[str, ...] = GROUPS
    own: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    pooled: bool = False


# What an offset is the product of: see Share.
RECEIVED, DIRECTIONS, PRODUCT, BEHIND = "received", "directions", "product", "behind"


@dataclass(frozen=True)
class Share:
    """What one client trains from: W0 + s (T + B A - O) in every adapted layer.

    Attributes:
        adapter: factors of the client's rank r_k, and the head.
        coefficients: module -> C of shape (r_k, r_max), or (n, d_out + d_in), by which
            O is written; empty where there is none, and for ``product``.
        basis: ``received``: O = B C R with B as received; ``directions``: O = Q C R
            with Q, R the QR directions of W0; ``product``: O = B A as received, so that
            the client starts at its base plus T; ``behind``: O = - C[:, :d_out]^T
            C[:, d_out:], n directions of the model behind those that it trains.

    """

    adapter: AdapterState
    coefficients: Mapping[str, Tensor] = field(default_factory=dict)
    basis: str = RECEIVED

    def offset(self, directions: Callable[[int], LoraFactors]) -> dict[str, Pair]:
        """O of every layer as (L, R'), shapes (d_out, r_k) and (r_k, d_in).

        Args:
            directions: gives the QR directions (Q, R) of W0 at a rank.

        """
        if self.basis == PRODUCT:
            return dict(self.adapter.factors.pairs)
        found: dict[str, Pair] = {}
        for module, C in self.coefficients.items():
            B = self.adapter.factors[module][0]
            if self.basis == BEHIND:
                found[module] = (-C[:, : len(B)].T, C[:, len(B) :])
                continue
            Q, R = directions(C.shape[1])[module]
            left = B if self.basis == RECEIVED else Q[:, : C.shape[0]]
            found[module] = (left, C @ R)
        return found


class UploadError(ValueError):
    """An upload that is not what was asked for, with what is wrong in it."""


class UncheckedUpload(Protocol):
    """What a client says it has trained; every call checks what it reads.

    Each raises an error that leaves the reply out where the upload holds another thing.
    """

    @property
    def rank(self) -> int:
        """Rank that the client says its factors have."""

    def tensors(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of exactly these names and shapes, finite."""

    def slots(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the slots sent, of exactly these names and shapes, finite."""

    def extra(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What else was sent, of exactly these names and shapes, finite."""


@dataclass(frozen=True)
class Update:
    """What one client returned, checked and made whole.

    Attributes:
        node: its node id.
        rank: r_k, the rank that it trained at.
        received: what the client started from.
        adapter: what it has trained; groups it does not return are as received.
        examples: n_k, its training examples.
        loss: mean training loss of its local steps.
        seconds: its training time.
        correction: what its drift correction uploads; empty without one.
        correction_lost: its drift correction has begun at zero, whatever the server
            counts on.
        correction_refused: what it has uploaded for its correction is not taken.
        extra: what else the method has its clients return, by name.
        progress: layer -> steps that it took, in the order of the model; empty where
            rounds have no deadline.
        speed: seconds an example, and their standard deviation; 0 where not measured.

    """

    node: int
    rank: int
    received: Share
    adapter: AdapterState
    examples: float
    loss: float
    seconds: float
    correction: Mapping[str, Tensor] = field(default_factory=dict)
    correction_lost: bool = False
    correction_refused: bool = False
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    progress: Mapping[str, float] = field(default_factory=dict)
    speed: tuple[float, float] = (0.0, 0.0)

    @property
    def next_rank(self) -> int:
        """Rank that the client goes on with: what it returned, where it pruned."""
        return min(self.adapter.factors.rank or self.rank, self.rank)


MEANS, LEADING, SKETCH = "means", "leading", "sketch"
TANGENT, DENSE = "tangent", "dense"


@dataclass(frozen=True)
class Sums:
    """What a method needs of a round where it may see sums over clients alone.

    Attributes:
        kind: ``means`` of the padded factors; of products their ``leading`` columns,
            or a ``sketch``: see ``methods.sums``. Where sums have noise there is, in
            place of a sketch, what they are along the ``tangent`` space: see
            ``methods.tangent``; or they are ``dense``, all d_out d_in numbers.
        changed: products are B_k A_k - P_k, with P_k as received; else B_k A_k.

    """

    kind: str
    changed: bool = False

    def noisy(self) -> "Sums":
        """These, without numbers that tell little and get noise as all others do."""
        return replace(self, kind=TANGENT) if self.kind == SKETCH else self


@dataclass(frozen=True)
class Aggregate:
    """What a method makes of a round's updates.

    Attributes:
        state: the next global model.
        energy: part of ||D||_F^2 that the first j directions hold, for j = 1..r_max;
            None where nothing is cut.

    """

    state: GlobalState
    energy: tuple[float, ...] | None = None


def weights_of(updates: Sequence[Update]) -> list[float]:
    """p_k = n_k / sum of n_j over the clients that replied."""
    total = sum(update.examples for update in updates)
    return [update.examples / total for update in updates]


def learned_in_base(state: GlobalState) -> LoraFactors:
    """T as LoRA factors; before anything was learned, B = 0 at r_max."""
    assert state.ledger is not None
    if state.ledger.version:
        return state.ledger.as_factors()
    return nothing_learned(state.adapter.factors)


def nothing_learned(factors: LoraFactors) -> LoraFactors:
    """Factors of the same shapes with B = 0."""
    return LoraFactors({m: (torch.zeros_like(B), A) for m, (B, A) in factors.items()})
