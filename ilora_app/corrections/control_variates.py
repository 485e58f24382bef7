"""Rank-aware control variates (arXiv 2511.16069; SCAFFOLD in factor coordinates).

The server keeps c at r_max and broadcasts it cut to r_k; client k keeps c_k. Every
local step uses g + (c - c_k); afterwards c_k+ is the mean raw gradient, the client
uploads c_k+ - c_k, and c <- c + pad(sum_k (c_k+ - c_k)) / N.

A reply may be lost or refused after the client has sent it. Then c has not moved, and
the client must not move c_k either: it keeps c_k+ aside until a later message says in
which round the server last took its upload.
"""

from collections.abc import Mapping, Sequence

import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections.fitting import columns, fit, keep_rank, whole
from ilora_app.lora.control import (
    BASES,
    NORMALISATIONS,
    SCOPES,
    GradientCorrection,
    add_deltas,
    mean_over_members,
    rotate,
    within_scope,
    zeros_like,
)
from ilora_app.lora.factors import AdapterState, LoraFactors

Taken = Mapping[str, int]
"""Name of a node -> round in which its upload was last taken."""

# Names in the client's own state: c_k, c_k+ while it is not acknowledged, and the
# columns of B under which each was computed.
_OWN, _PENDING, _BASIS = "control-variate", "control-variate-pending", "-basis"
_PENDING_ROUND = "control-variate-pending-round"


class ControlVariates:
    """Server half.

    Args:
        normalisation: divide by ``all`` members (the paper) or by the ``holders`` of
            an index.
        basis: ``keep`` the numbers of c through aggregation, or ``rotate`` them into
            the new basis.
        scope: correct ``all``, the ``head`` alone, or the ``factors`` alone.

    Raises:
        ValueError: a setting outside its choices.

    """

    name = "control-variates"

    def __init__(
        self, normalisation: str = "holders", basis: str = "keep", scope: str = "all"
    ) -> None:
        for value, choices in (
            (normalisation, NORMALISATIONS),
            (basis, BASES),
            (scope, SCOPES),
        ):
            if value not in choices:
                raise ValueError(f"{value!r}: expected one of {', '.join(choices)}")
        self.normalisation = normalisation
        self.basis = basis
        self.scope = scope
        self._total: AdapterState | None = None
        self._taken: dict[int, int] = {}

    def begin(self, adapter: AdapterState) -> None:
        """Set c = 0, in the shapes of the global model."""
        self._total = zeros_like(within_scope(adapter, self.scope))
        self._taken = {}

    def control(self, member_ranks: Sequence[int]) -> AdapterState:
        """c at r_max, for a federation of these ranks."""
        assert self._total is not None, "begin() comes first"
        return mean_over_members(self._total, member_ranks, self.normalisation)

    def share(self, rank: int, member_ranks: Sequence[int]) -> dict[str, Tensor]:
        """c cut to the first ``rank`` columns of B and rows of A, for one client."""
        return self.control(member_ranks).cut(rank).named_tensors()

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._taken.get(node, 0)

    def aggregate(
        self,
        server_round: int,
        deltas: Mapping[int, Mapping[str, Tensor]],
        old: LoraFactors,
        new: LoraFactors,
    ) -> None:
        """Update c from the uploads, then follow the change of basis old -> new.

        An update that overflows is not taken: c stays as it was.

        Args:
            server_round: the round of the uploads.
            deltas: c_k+ - c_k by node, in order, without factors that did not train.
            old: factors at r_max that were broadcast.
            new: factors at r_max that will be.

        """
        assert self._total is not None, "begin() comes first"
        states = [whole(delta, self._total) for delta in deltas.values()]
        fresh = add_deltas(self._total, states)
        if not all(value.isfinite().all() for value in fresh.named_tensors().values()):
            fresh = self._total
        else:
            self._taken.update(dict.fromkeys(deltas, server_round))
        if self.basis == "rotate":
            fresh = rotate(fresh, columns(old), columns(new))
        self._total = fresh.contiguous()

    def take_over(self, old: int, new: int, restored: bool) -> None:
        """Note that a node came back under another id, with its c_k or without."""
        taken = self._taken.pop(old, None)
        if restored and taken is not None:
            self._taken[new] = taken

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Tensor], Taken]:
        """The sum of all c_k, and when uploads were last taken, by names of nodes."""
        assert self._total is not None, "begin() comes first"
        taken = {names[n]: v for n, v in self._taken.items() if n in names}
        return self._total.named_tensors(), taken

    def load(
        self, total: Mapping[str, Tensor], taken: Taken, nodes: Mapping[str, int]
    ) -> None:
        """Go on from what :meth:`saved` gave, with node ids in place of names."""
        self._total = AdapterState.from_named_tensors(total)
        self._taken = {nodes[name]: value for name, value in taken.items()}

    def __str__(self) -> str:
        return (
            f"{self.name} (normalisation {self.normalisation}, basis {self.basis}, "
            f"scope {self.scope})"
        )


class ControlVariatesClient:
    """Client half, for one round.

    Args:
        server_control: c as received, by flat name.
        received: the factors received with it.
        memory: the client's own state (``context.state``), read now and written by
            :meth:`finish`.
        basis: as on the server.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.

    """

    def __init__(
        self,
        server_control: Mapping[str, Tensor],
        received: LoraFactors,
        memory: RecordDict,
        basis: str,
        server_round: int,
        last_taken: int,
    ) -> None:
        self._received = received
        self._memory = memory
        self._basis = basis
        self._round = server_round
        self._settle(last_taken)
        self._own = self._recall(server_control)
        self.correction = {n: c - self._own[n] for n, c in server_control.items()}
        self._hook: GradientCorrection | None = None

    def hook(self, parameters: Mapping[str, Tensor]) -> GradientCorrection:
        """Build the optimizer step pre-hook that applies c - c_k."""
        self._hook = GradientCorrection(parameters, self.correction)
        return self._hook

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """Keep the new mean gradient c_k+ aside, and return c_k+ - c_k.

        Args:
            full_gradient: the mean gradient over all local data at the received model
                (``full-pass``); None takes the mean over the local steps
                (``local-mean``).
            rank: the client goes on with so many directions, and gives up its part of
                c in the others; None: with all.

        """
        assert self._hook is not None, "hook() comes first"
        found = full_gradient or self._hook.mean_gradient()
        fresh = {name: found[name].float().cpu() for name in self._own}
        if rank is not None:
            fresh = {
                name: keep_rank(name, value, rank) for name, value in fresh.items()
            }
        self._memory[_PENDING] = wire.encode_tensors(fresh)
        self._memory[_PENDING_ROUND] = ConfigRecord({wire.ROUND: self._round})
        if self._basis == "rotate":
            basis = wire.encode_tensors(columns(self._received))
            self._memory[_PENDING + _BASIS] = basis
        return {name: fresh[name] - self._own[name] for name in self._own}

    def _settle(self, last_taken: int) -> None:
        """Make the pending c_k+ this client's own if the server took it."""
        if _PENDING not in self._memory:
            return
        took = self._memory.config_records[_PENDING_ROUND][wire.ROUND] == last_taken
        for suffix in ("", _BASIS):
            pending = self._memory.pop(_PENDING + suffix, None)
            if took and isinstance(pending, ArrayRecord):
                # A round in which one factor trained moves that part of c_k alone.
                before = self._memory.get(_OWN + suffix, ArrayRecord())
                self._memory[_OWN + suffix] = ArrayRecord({**before, **pending})

    def _recall(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read c_k from memory, in the coordinates and the rank of this round."""
        if _OWN not in self._memory:
            return {name: torch.zeros_like(value) for name, value in like.items()}
        own = wire.decode_tensors(self._memory.array_records[_OWN])
        if self._basis == "rotate":
            old = wire.decode_tensors(self._memory.array_records[_OWN + _BASIS])
            kept = AdapterState.from_named_tensors(own)
            own = rotate(kept, old, columns(self._received)).named_tensors()
        return {
            name: fit(own[name], value.shape) if name in own else zeros
            for name, value in like.items()
            for zeros in [torch.zeros_like(value)]
        }
