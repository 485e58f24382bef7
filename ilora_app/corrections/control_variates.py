"""Rank-aware control variates (arXiv 2511.16069; SCAFFOLD in factor coordinates).

The server keeps c at r_max and broadcasts it cut to r_k; client k keeps c_k. Every
local step uses g + (c - c_k); afterwards c_k+ is the mean raw gradient, the client
uploads c_k+ - c_k, and c is the weighted mean of all c_k.

A reply may be lost or refused after the client has sent it. Then c has not moved, and
the client must not move c_k either: it keeps c_k+ aside until a later message says in
which round the server last took its upload.

A client may lose its c_k. It begins at zero again then and says so, and the server,
which knows what every client has brought into c, takes that part out again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ilora_app.corrections.client_variate import ClientVariate
from ilora_app.corrections.contributions import Contributions
from ilora_app.corrections.correction import (
    ClientCorrection,
    Correction,
    Holder,
    Returned,
)
from ilora_app.corrections.hooks import GradientCorrection
from ilora_app.corrections.memory import ClientMemory
from ilora_app.corrections.parts import Parts
from ilora_app.corrections.shapes import Flat, keep_rank
from ilora_app.lora.control import within_scope
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings.method import (
    BASES,
    CONTROL_VARIATES,
    NORMALISATIONS,
    SCOPES,
    WEIGHTS,
)


class ControlVariates(Correction):
    """Server half.

    Args:
        normalisation: divide by ``all`` members (the paper) or by the ``holders`` of
            an index.
        basis: ``keep`` the numbers of c through aggregation, or ``rotate`` them into
            the new basis.
        scope: correct ``all``, the ``head`` alone, or the ``factors`` alone.
        weights: c is the mean of the c_k by ``examples``, as the factors and the head
            are, or ``uniform`` (the paper): sum_k p_k (c - c_k) is then not zero, and
            the federation is drawn to the optimum of the unweighted mean.

    Raises:
        ValueError: a setting outside its choices.

    """

    name = CONTROL_VARIATES
    remembers = True
    rounds = True

    def __init__(
        self,
        normalisation: str = "holders",
        basis: str = "keep",
        scope: str = "all",
        weights: str = "examples",
    ) -> None:
        for value, choices in (
            (normalisation, NORMALISATIONS),
            (basis, BASES),
            (scope, SCOPES),
            (weights, WEIGHTS),
        ):
            if value not in choices:
                raise ValueError(f"{value!r}: expected one of {', '.join(choices)}")
        self.normalisation = normalisation
        self.basis = basis
        self.scope = scope
        self.weights = weights
        self._store: Parts | None = None
        self._parts = Contributions(AdapterState(LoraFactors({}), {}))

    def keep_in(self, store: Parts) -> None:
        """Keep c_k there, and not in memory."""
        self._store = store

    def begin(self, adapter: AdapterState) -> None:
        """Set c = 0, in the shapes of the global model."""
        like = within_scope(adapter, self.scope)
        self._parts = Contributions(like, self.basis == "rotate", self._store)

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState:
        """c at r_max; a client gets the first columns of c_B and rows of c_A.

        Args:
            holders: all members, in a fixed order.
            received: factors at r_max that are broadcast now.

        """
        return self._parts.mean(holders, received, self.normalisation, self.weights)

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._parts.last_taken(node)

    def brought(self, node: int, upload: Flat, received: LoraFactors) -> Flat:
        """c_k+."""
        return self._parts.after(node, upload, received)

    def aggregate(self, found: Returned) -> None:
        """Update what the clients hold from their uploads, c_k+ - c_k.

        An update that overflows is not taken: c stays as it was. A node that began at
        zero, whatever was counted on, has brought nothing from before.
        """
        for node in found.lost:
            self.forget(node)
        self._parts.add(found.round, found.uploads, found.received)

    def forget(self, node: int) -> None:
        """Take what a node has brought into c out again: it holds no c_k any more."""
        self._parts.remove(node)

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
        if restored:
            self._parts.move(old, new, rank)
        else:
            self.forget(old)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """What a checkpoint needs of what each node has brought.

        Args:
            names: of the nodes that may come back; the parts of others are taken out.

        """
        return self._parts.saved(names)

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave, with node ids in place of names.

        :meth:`begin` comes first.
        """
        self._parts.load(saved, taken, nodes)

    def __str__(self) -> str:
        return (
            f"{self.name} (weights {self.weights}, normalisation "
            f"{self.normalisation}, basis {self.basis}, scope {self.scope})"
        )


class ControlVariatesClient(ClientCorrection):
    """Client half, for one round.

    Args:
        server_control: c as received, by flat name.
        received: the factors received with it.
        memory: what this client keeps; read now and written by :meth:`finish`.
        basis: as on the server.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.
        estimator: ``local-mean`` or ``full-pass``.

    """

    rounds = True

    def __init__(
        self,
        server_control: Mapping[str, Tensor],
        received: LoraFactors,
        memory: ClientMemory,
        basis: str,
        server_round: int,
        last_taken: int,
        estimator: str = "local-mean",
    ) -> None:
        self._received = received
        self.wants_full_gradient = estimator == "full-pass"
        self._variate = ClientVariate(memory, basis)
        self._round = server_round
        # Where the server counts on a c_k that is not here, this client begins at zero.
        self.lost = not self._variate.settle(last_taken)
        self._own = self._variate.recall(server_control, received)
        self.correction = {n: c - self._own[n] for n, c in server_control.items()}
        self._hook: GradientCorrection | None = None

    def hook(self, parameters: Mapping[str, Tensor]) -> GradientCorrection:
        """Build the optimizer hook that applies c - c_k."""
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
        given = [r for r in (rank, self.most_directions) if r is not None]
        if rank := min(given, default=None):
            fresh = {name: keep_rank(name, v, rank) for name, v in fresh.items()}
        self._variate.keep_pending(fresh, self._received, self._round)
        return {name: fresh[name] - self._own[name] for name in self._own}

    def arrives(self, uploads: Flat) -> None:
        """Go on with the c_k that the server has: what rounding lost comes next time.

        Args:
            uploads: c_k+ - c_k as the server reads it.

        """
        known = {name: self._own[name] + delta for name, delta in uploads.items()}
        self._variate.keep_pending(known, self._received, self._round)
