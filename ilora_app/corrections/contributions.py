"""c_k of every node as the server knows it, and their weighted mean."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from ilora_app.corrections.correction import Holder
from ilora_app.corrections.shapes import Flat, add, columns, cut, pad_to, rank_of
from ilora_app.lora.control import mean_over_members, rotate, weighted_sum, zeros_like
from ilora_app.lora.factors import AdapterState, LoraFactors

_BASIS = "basis-"


class Contributions:
    """c_k by node, each at the rank and in the coordinates in which it was computed.

    With ``rotates`` these are the columns of B that were broadcast in the round of its
    last upload, and a part is turned into those of another round when it is read, from
    its own basis and at its own rank, as the client turns its c_k.

    Args:
        like: the shapes of c.
        rotates: parts follow changes of basis.

    """

    def __init__(self, like: AdapterState, rotates: bool = False) -> None:
        self._like = zeros_like(like)
        self._rotates = rotates and bool(like.factors.pairs)
        self._parts: dict[int, Flat] = {}
        self._taken: dict[int, int] = {}
        self._bases: dict[int, Mapping[str, Tensor]] = {}

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._taken.get(node, 0)

    def add(
        self, server_round: int, deltas: Mapping[int, Flat], received: LoraFactors
    ) -> None:
        """Add c_k+ - c_k by node; none of them where their sum overflows.

        Args:
            server_round: of the uploads.
            deltas: by node, in order.
            received: factors at r_max that were broadcast in it.

        """
        now = columns(received)
        fresh = {
            node: add(self._turned(node, now, rank_of(delta)), delta)
            for node, delta in deltas.items()
        }
        parts = self._parts | fresh
        total = weighted_sum(
            self._like, ((pad_to(part, self._like), 1.0) for part in parts.values())
        )
        if not all(value.isfinite().all() for value in total.named_tensors().values()):
            return
        self._parts = parts
        self._taken |= dict.fromkeys(fresh, server_round)
        if self._rotates:
            self._bases[server_round] = now
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
        now = columns(received)
        by = [float(h.examples) if weights == "examples" else 1.0 for h in holders]
        whole = sum(by)
        by = [weight / whole for weight in by]
        parts = (
            (pad_to(self._turned(holder.node, now, holder.rank), self._like), weight)
            for holder, weight in zip(holders, by, strict=True)
            if holder.node in self._parts
        )
        total = weighted_sum(self._like, parts)
        ranks = [holder.rank for holder in holders]
        return mean_over_members(total, ranks, by, normalisation)

    def remove(self, node: int) -> None:
        """Forget what a node has brought."""
        self._parts.pop(node, None)
        self._taken.pop(node, None)
        self._drop_bases()

    def move(self, old: int, new: int, rank: int | None = None) -> None:
        """Note that a node has another id.

        Args:
            old, new: its ids.
            rank: that it goes on with where it is smaller than before; it gives up its
                part in the other directions.

        """
        part = self._parts.pop(old, None)
        if part is None:
            return
        if rank is not None:
            part = cut(part, rank)
        self._parts[new], self._taken[new] = part, self._taken.pop(old)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, int]]:
        """The parts by name, the bases they are in, and when each was taken.

        Args:
            names: of the nodes that may come back; the parts of others are left out.

        """
        kept = {
            names[node]: part for node, part in self._parts.items() if node in names
        }
        taken = {
            names[node]: self._taken[node] for node in self._parts if node in names
        }
        bases = {
            f"{_BASIS}{number}": basis
            for number, basis in self._bases.items()
            if number in taken.values()
        }
        return {**kept, **bases}, taken

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, int],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave, with node ids in place of names."""
        self._parts = {nodes[name]: saved[name] for name in taken}
        self._taken = {nodes[name]: number for name, number in taken.items()}
        self._bases = {
            int(name.removeprefix(_BASIS)): basis
            for name, basis in saved.items()
            if name.startswith(_BASIS)
        }

    def _turned(self, node: int, now: Mapping[str, Tensor], rank: int) -> Flat:
        """c_k of a node in the coordinates of these columns of B, cut to a rank."""
        part = self._parts.get(node, {})
        if not part or not self._rotates:
            return part
        held = min(rank_of(part), rank)
        then = self._bases[self._taken[node]]
        found = rotate(
            AdapterState.from_named_tensors(cut(part, held)),
            {module: B[:, :held] for module, B in then.items()},
            {module: B[:, :rank] for module, B in now.items()},
        )
        return found.contiguous().named_tensors()

    def _drop_bases(self) -> None:
        used = set(self._taken.values())
        self._bases = {n: basis for n, basis in self._bases.items() if n in used}
