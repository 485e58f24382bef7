"""Rank-aware control variates (arXiv 2511.16069; SCAFFOLD in factor coordinates).

The server keeps c at r_max and broadcasts it cut to r_k; client k keeps c_k. Every
local step uses g + (c - c_k); afterwards c_k+ is the mean raw gradient, the client
uploads c_k+ - c_k, and c <- c + pad(sum_k (c_k+ - c_k)) / N.

A reply may be lost or refused after the client has sent it. Then c has not moved, and
the client must not move c_k either: it keeps c_k+ aside until a later message says in
which round the server last took its upload.

A client may lose its c_k. It begins anew at zero then and says so, and the server,
which knows what every client has brought into c, takes that part out again.
"""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ilora_app.corrections.fitting import (
    Flat,
    added,
    columns,
    keep_rank,
    negative,
    whole,
)
from ilora_app.lora.control import (
    BASES,
    NORMALISATIONS,
    SCOPES,
    add_deltas,
    change_of_basis,
    mean_over_members,
    turned,
    within_scope,
    zeros_like,
)
from ilora_app.lora.factors import AdapterState, LoraFactors

Taken = Mapping[str, int]
"""Name of a node -> round in which its upload was last taken."""

TOTAL = "total"
"""Name of the sum of all c_k among those of the nodes."""


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
        # What each node's uploads have come to: its part of the total.
        self._parts: dict[int, Flat] = {}
        self._taken: dict[int, int] = {}

    def begin(self, adapter: AdapterState) -> None:
        """Set c = 0, in the shapes of the global model."""
        self._total = zeros_like(within_scope(adapter, self.scope))
        self._parts, self._taken = {}, {}

    def control(self, member_ranks: Sequence[int]) -> AdapterState:
        """c at r_max, for a federation of these ranks."""
        return mean_over_members(self._known(), member_ranks, self.normalisation)

    def share(self, rank: int, member_ranks: Sequence[int]) -> dict[str, Tensor]:
        """c cut to the first ``rank`` columns of B and rows of A, for one client."""
        return self.control(member_ranks).cut(rank).named_tensors()

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._taken.get(node, 0)

    def aggregate(
        self,
        server_round: int,
        deltas: Mapping[int, Flat],
        old: LoraFactors,
        new: LoraFactors,
        anew: Collection[int] = (),
    ) -> None:
        """Update c from the uploads, then follow the change of basis old -> new.

        An update that overflows is not taken: c stays as it was.

        Args:
            server_round: the round of the uploads.
            deltas: c_k+ - c_k by node, in order, without factors that did not train.
            old: factors at r_max that were broadcast.
            new: factors at r_max that will be.
            anew: nodes that had no c_k, or another than the server counts on, and
                began at zero.

        """
        for node in anew:
            self.forget(node)
        total = self._known()
        fresh = add_deltas(total, [whole(delta, total) for delta in deltas.values()])
        if all(value.isfinite().all() for value in fresh.named_tensors().values()):
            self._total = fresh
            for node, delta in deltas.items():
                self._parts[node] = added(self._parts.get(node, {}), delta)
                self._taken[node] = server_round
        if self.basis == "rotate":
            change = change_of_basis(columns(old), columns(new))
            self._total = turned(self._known(), change)
            for node, part in self._parts.items():
                padded = whole(part, self._total)
                self._parts[node] = turned(padded, change).contiguous().named_tensors()
        self._total = self._known().contiguous()

    def forget(self, node: int) -> None:
        """Take what a node has brought into c out again: it holds no c_k any more."""
        self._taken.pop(node, None)
        part = self._parts.pop(node, None)
        if part is not None:
            self._take_out(part)

    def take_over(
        self, old: int, new: int, restored: bool, rank: int | None = None
    ) -> None:
        """Note that a node came back under another id, with its c_k or without.

        Args:
            old, new: its ids.
            restored: it has kept its c_k.
            rank: that it goes on with where it is smaller than before; it gives up
                its part of c in the other directions.

        """
        if not restored:
            self.forget(old)
        taken, part = self._taken.pop(old, None), self._parts.pop(old, None)
        if taken is None or part is None:
            return
        if rank is not None:
            kept = {name: keep_rank(name, value, rank) for name, value in part.items()}
            self._take_out({name: part[name] - kept[name] for name in part})
            part = kept
        self._taken[new], self._parts[new] = taken, part

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], Taken]:
        """The sum of all c_k and the part of each node, and when uploads were taken.

        Args:
            names: of the nodes that may come back; the parts of others are taken out.

        """
        total = self._known()
        lost = [part for node, part in self._parts.items() if node not in names]
        total = add_deltas(total, [whole(negative(part), total) for part in lost])
        taken = {names[n]: v for n, v in self._taken.items() if n in names}
        parts = {names[n]: v for n, v in self._parts.items() if n in names}
        return {TOTAL: total.named_tensors(), **parts}, taken

    def load(
        self, saved: Mapping[str, Flat], taken: Taken, nodes: Mapping[str, int]
    ) -> None:
        """Go on from what :meth:`saved` gave, with node ids in place of names."""
        self._total = AdapterState.from_named_tensors(saved[TOTAL])
        self._taken = {nodes[name]: value for name, value in taken.items()}
        self._parts = {nodes[n]: v for n, v in saved.items() if n in nodes and v}

    def _known(self) -> AdapterState:
        assert self._total is not None, "begin() comes first"
        return self._total

    def _take_out(self, part: Flat) -> None:
        total = self._known()
        self._total = add_deltas(total, [whole(negative(part), total)])

    def __str__(self) -> str:
        return (
            f"{self.name} (normalisation {self.normalisation}, basis {self.basis}, "
            f"scope {self.scope})"
        )
