"""c_k of every node as the server knows it, and their weighted mean.

What nodes have brought is kept where ``Parts`` says, of which one part is read at a
time, and of their weighted sum only what has changed is added. So memory does not grow
with the nodes that are away, nor the time of a round, unless parts follow the basis.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.corrections.correction import Holder
from ilora_app.corrections.parts import Held, Parts
from ilora_app.corrections.shapes import (
    Flat,
    add,
    basis_of,
    cut,
    factors_of,
    fit,
    pad_to,
    rank_of,
)
from ilora_app.lora.control import mean_over_members, rotate, weighted_sum, zeros_like
from ilora_app.lora.factors import AdapterState, LoraFactors

_BASIS, _TOTAL = "basis-", "total"


class Contributions:
    """c_k by node, each at the rank and in the coordinates in which it was computed.

    With ``rotates`` these are the factors that were broadcast in the round of its last
    upload, and a part is turned into those of another round when it is read, from
    its own basis and at its own rank, as the client turns its c_k.

    Args:
        like: the shapes of c.
        rotates: parts follow changes of basis.
        store: of the parts; None: memory.

    """

    def __init__(
        self, like: AdapterState, rotates: bool = False, store: Parts | None = None
    ) -> None:
        self._like = zeros_like(like)
        self._rotates = rotates and bool(like.factors.pairs)
        self._store: Parts = Held() if store is None else store
        self._keys: dict[int, str] = {}
        self._taken: dict[int, int] = {}
        self._bases: set[int] = set()
        # sum_k w_k c_k, and the w_k with which each c_k is in it.
        self._total: dict[str, Tensor] = {}
        self._counted: dict[int, float] = {}

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._taken.get(node, 0)

    def after(self, node: int, delta: Flat, received: LoraFactors) -> Flat:
        """c_k+ of a node, from c_k+ - c_k and the factors of its round."""
        return add(self._turned(node, received, rank_of(delta)), delta)

    def add(
        self, server_round: int, deltas: Mapping[int, Flat], received: LoraFactors
    ) -> None:
        """Add c_k+ - c_k by node; none of them where a sum of such could overflow.

        Args:
            server_round: of the uploads.
            deltas: by node, in order.
            received: factors at r_max that were broadcast in it.

        """
        fresh = {n: self.after(n, delta, received) for n, delta in deltas.items()}
        values = [value for part in fresh.values() for value in part.values()]
        most = torch.finfo(torch.float32).max / max(1, len(self._keys | fresh))
        if not all(bool((value.abs() < most).all()) for value in values):
            return
        for number, (node, part) in enumerate(fresh.items()):
            self._put(node, f"{server_round}-{number}", part)
        self._taken |= dict.fromkeys(fresh, server_round)
        if self._rotates and fresh:
            self._store.write(f"{_BASIS}{server_round}", basis_of(received))
            self._bases.add(server_round)
        self._drop_bases()

    def mean(
        self,
        holders: Sequence[Holder],
        received: LoraFactors,
        normalisation: str,
        weights: str,
    ) -> AdapterState:
        """c at r_max: see :func:`~ilora_app.lora.control.mean_over_members`.

        Args:
            holders: all members, in a fixed order; those without a c_k count as zero.
            received: factors at r_max that are broadcast now.
            normalisation: ``all`` or ``holders``.
            weights: ``examples`` or ``uniform``.

        """
        by = [float(h.examples) if weights == "examples" else 1.0 for h in holders]
        whole = sum(by)
        if self._rotates:
            like = self._like
            parts = (
                (pad_to(self._turned(h.node, received, h.rank), like), w / whole)
                for h, w in zip(holders, by, strict=True)
                if h.node in self._keys
            )
            total = weighted_sum(like, parts)
        else:
            self._recount({h.node: w for h, w in zip(holders, by, strict=True)})
            flat = dict(self._like.named_tensors())
            for name, value in self._total.items():
                flat[name] = (value / whole).to(flat[name].dtype)
            total = AdapterState.from_named_tensors(flat)
        ranks = [holder.rank for holder in holders]
        shares = [weight / whole for weight in by]
        return mean_over_members(total, ranks, shares, normalisation)

    def remove(self, node: int) -> None:
        """Forget what a node has brought."""
        self._put(node, "", {})
        self._taken.pop(node, None)
        self._drop_bases()

    def move(self, old: int, new: int, rank: int | None = None) -> None:
        """Note that a node has another id.

        Args:
            old, new: its ids.
            rank: that it goes on with where it is smaller than before; it gives up its
                part in the other directions.

        """
        if old not in self._keys:
            return
        part = self._store.read(self._keys[old])
        if rank is not None and rank < rank_of(part):
            self._put(old, f"{self._keys[old]}-{rank}", cut(part, rank))
        self._keys[new], self._taken[new] = self._keys.pop(old), self._taken.pop(old)
        if old in self._counted:
            self._counted[new] = self._counted.pop(old)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """What a checkpoint needs to have of parts, and the facts of each by name.

        These are the round of its last upload and, where the store stays, the weight
        with which it is in the sum, and its keys. In memory the parts themselves are
        needed, and the bases they are in.

        Args:
            names: of the nodes that may come back; the parts of others are left out.

        """
        known = {node: key for node, key in self._keys.items() if node in names}
        if not self._store.stays:
            parts = {names[n]: self._store.read(key) for n, key in known.items()}
            rounds = {names[node]: self._taken[node] for node in known}
            bases = [f"{_BASIS}{n}" for n in self._bases if n in rounds.values()]
            return {**parts, **{key: self._store.read(key) for key in bases}}, rounds
        # Without those who cannot come back it is another sum.
        whole = len(known) == len(self._keys)
        facts = {}
        for node, key in known.items():
            number, weight = self._taken[node], self._counted.get(node, 0.0)
            keys = [key, f"{_BASIS}{number}"] if self._rotates else [key]
            facts[names[node]] = [number, weight if whole else 0.0, *keys]
        return {_TOTAL: dict(self._total)} if whole and self._total else {}, facts

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave, with node ids in place of names."""
        for number, (name, fact) in enumerate(taken.items()):
            if isinstance(fact, int):  # the part is in the checkpoint
                key = f"{fact}-{number}"
                self._keys[nodes[name]], self._taken[nodes[name]] = key, fact
                self._store.write(key, saved[name])
            else:
                node, weight = nodes[name], fact[1]
                self._taken[node], self._keys[node] = fact[0], fact[2]
                self._counted |= {node: weight} if weight else {}
        self._total = dict(saved.get(_TOTAL, {}))
        for name, basis in saved.items():
            if name.startswith(_BASIS):
                self._store.write(name, basis)
        self._bases = set(self._taken.values()) if self._rotates else set()

    def _put(self, node: int, key: str, part: Flat) -> None:
        """Replace the part of a node, or take it away."""
        old = self._keys.pop(node, "")
        if old:
            self._count(node, 0.0, old)
            self._store.retire(old)
        if key:
            self._store.write(key, part)
            self._keys[node] = key

    def _recount(self, weights: Mapping[int, float]) -> None:
        """Have every part in the sum with these weights."""
        for node in self._counted.keys() - weights.keys():
            self._count(node, 0.0, self._keys[node])
        for node, weight in weights.items():
            if node in self._keys and self._counted.get(node, 0.0) != weight:
                self._count(node, weight, self._keys[node])

    def _count(self, node: int, weight: float, key: str) -> None:
        change = weight - self._counted.pop(node, 0.0)
        if weight:
            self._counted[node] = weight
        if not self._counted:
            self._total = {}
        elif change:
            part, shapes = self._store.read(key), self._like.named_tensors()
            for name, value in part.items():
                like = shapes[name]
                zero = torch.zeros_like(like, dtype=torch.float64)
                total = self._total.setdefault(name, zero)
                total.add_(fit(value, like.shape), alpha=change)

    def _turned(self, node: int, now: LoraFactors, rank: int) -> Flat:
        """c_k of a node in the coordinates of these factors, cut to a rank."""
        part = self._store.read(self._keys[node]) if node in self._keys else {}
        if not part or not self._rotates:
            return part
        held = min(rank_of(part), rank)
        then = self._store.read(f"{_BASIS}{self._taken[node]}")
        found = rotate(
            AdapterState.from_named_tensors(cut(part, held)),
            factors_of(cut(then, held)),
            now.cut(rank),
        )
        return found.contiguous().named_tensors()

    def _drop_bases(self) -> None:
        unused = self._bases - set(self._taken.values())
        for number in unused:
            self._store.retire(f"{_BASIS}{number}")
        self._bases -= unused
