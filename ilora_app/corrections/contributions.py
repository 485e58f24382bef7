"""What each node has brought into the sum of all control variates."""

from collections.abc import Mapping

from torch import Tensor

from ilora_app.corrections.shapes import Flat, add, keep_rank, negate, pad_to
from ilora_app.lora.control import Change, add_deltas, change_coordinates, zeros_like
from ilora_app.lora.factors import AdapterState

TOTAL = "total"
"""Name of the sum of all c_k among those of the nodes."""


class Contributions:
    """sum_k c_k at r_max, and each node's part of it, to be taken out when it is lost.

    Args:
        like: the shapes of the sum.

    """

    def __init__(self, like: AdapterState) -> None:
        self.total = zeros_like(like)
        self._parts: dict[int, Flat] = {}

    def add(self, deltas: Mapping[int, Flat]) -> bool:
        """Add c_k+ - c_k by node, in order; refuse all of them where the sum overflows.

        Returns:
            Whether they were added.

        """
        padded = [pad_to(delta, self.total) for delta in deltas.values()]
        fresh = add_deltas(self.total, padded)
        if not all(v.isfinite().all() for v in fresh.named_tensors().values()):
            return False
        self.total = fresh
        for node, delta in deltas.items():
            self._parts[node] = add(self._parts.get(node, {}), delta)
        return True

    def change_coordinates(self, change: Change) -> None:
        """Follow a change of basis, the parts like the sum."""
        self.total = change_coordinates(self.total, change)
        for node, part in self._parts.items():
            changed = change_coordinates(pad_to(part, self.total), change)
            self._parts[node] = changed.contiguous().named_tensors()

    def remove(self, node: int) -> None:
        """Take out all that a node has brought."""
        part = self._parts.pop(node, None)
        if part is not None:
            self._take_out(part)

    def move(self, old: int, new: int, rank: int | None = None) -> bool:
        """Note that a node has another id.

        Args:
            old, new: its ids.
            rank: that it goes on with where it is smaller than before; it gives up its
                part in the other directions.

        Returns:
            Whether it has brought anything.

        """
        part = self._parts.pop(old, None)
        if part is None:
            return False
        if rank is not None:
            kept = {name: keep_rank(name, value, rank) for name, value in part.items()}
            self._take_out({name: part[name] - kept[name] for name in part})
            part = kept
        self._parts[new] = part
        return True

    def contiguous(self) -> None:
        """Lay out the sum row by row, as a checkpoint would bring it back."""
        self.total = self.total.contiguous()

    def saved(self, names: Mapping[int, str]) -> dict[str, Flat]:
        """The sum and the parts, by name; the parts of nodes without one are taken out.

        Args:
            names: of the nodes that may come back.

        """
        lost = [part for node, part in self._parts.items() if node not in names]
        minus = [pad_to(negate(part), self.total) for part in lost]
        parts = {names[n]: v for n, v in self._parts.items() if n in names}
        return {TOTAL: add_deltas(self.total, minus).named_tensors(), **parts}

    @classmethod
    def of(
        cls, saved: Mapping[str, Mapping[str, Tensor]], nodes: Mapping[str, int]
    ) -> "Contributions":
        """Read what :meth:`saved` gave, with node ids in place of names."""
        total = AdapterState.from_named_tensors(saved[TOTAL])
        found = cls(total)
        found.total = total
        found._parts = {nodes[n]: v for n, v in saved.items() if n in nodes and v}
        return found

    def _take_out(self, part: Flat) -> None:
        self.total = add_deltas(self.total, [pad_to(negate(part), self.total)])
