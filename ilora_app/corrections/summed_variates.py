"""Control variates of which the server sees the sum over clients alone.

The clients' half is that of ``control_variates``. The server adds up sum_k n_k (c_k+ -
c_k), and knows by node only in which round it was part of a sum. So it cannot take out
what a client has brought into c that has lost its c_k or left for good.

c = S / sum_k n_k over all members. Of those that are not in a round n_k is not known:
they count as the mean of those who are.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ilora_app.corrections.correction import Correction, Holder, Returned
from ilora_app.corrections.shapes import Flat
from ilora_app.lora.control import within_scope
from ilora_app.lora.factors import AdapterState, LoraFactors, group_of
from ilora_app.settings.method import CONTROL_VARIATES

_SUM, _COUNTS, _MEAN = "sum", "counts", "mean-examples"


class SummedVariates(Correction):
    """Server half.

    Args:
        normalisation: divide by ``all`` members or by the ``holders`` of an index.
        scope: correct ``all``, the ``head`` alone, or the ``factors`` alone.
        weights: c is the mean of the c_k by ``examples``, or ``uniform``.

    """

    name = CONTROL_VARIATES

    def __init__(self, normalisation: str, scope: str, weights: str) -> None:
        self.normalisation, self.scope, self.weights = normalisation, scope, weights
        self._sum: dict[str, Tensor] = {}
        self._mean = torch.ones(1, dtype=torch.float64)
        self._taken: dict[int, int] = {}
        self._nodes: list[int] = []

    def begin(self, adapter: AdapterState) -> None:
        """Set c = 0, in the shapes of the global model."""
        like = within_scope(adapter, self.scope).named_tensors()
        self._sum = {
            n: torch.zeros(v.shape, dtype=torch.float64) for n, v in like.items()
        }
        self._mean = torch.ones(adapter.factors.rank + 1, dtype=torch.float64)

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState:
        """c at r_max; a client gets the first columns of c_B and rows of c_A."""
        ranks = torch.tensor([holder.rank for holder in holders])
        rank = len(self._mean) - 1
        whole = len(holders) * float(self._mean[-1]) or 1.0
        by = torch.full((rank,), whole, dtype=torch.float64)
        if self.normalisation == "holders":
            index = torch.arange(1, rank + 1).unsqueeze(1)  # (r_max, 1)
            found = (ranks >= index).sum(dim=1) * self._mean[:-1]
            by = torch.where(found > 0, found, 1.0)
        divided = {}
        for name, value in self._sum.items():
            group = group_of(name)
            divisor: Tensor | float = whole
            if group != "head":
                divisor = by if group == "lora_B" else by.unsqueeze(1)
            divided[name] = (value / divisor).float()
        return AdapterState.from_named_tensors(divided)

    def shapes(self) -> Flat:
        """Tensors of the shapes of c at r_max."""
        return self._sum

    def last_taken(self, node: int) -> int:
        """Round in which this node was last part of a sum; 0 for never."""
        return self._taken.get(node, 0)

    def counted(self, nodes: Mapping[int, int], examples: float, held: Tensor) -> None:
        """Say whose changes are in the sum that comes next.

        Args:
            nodes: with the rank that each has trained.
            examples: sum of n_k.
            held: sum of n_k over those that hold an index, shape (r_max,).

        """
        self._nodes = list(nodes)
        if self.weights != "examples":
            return
        ranks = torch.tensor(list(nodes.values()))
        index = torch.arange(1, len(held) + 1).unsqueeze(1)
        holders = (ranks >= index).sum(dim=1)
        mean = examples / len(nodes)
        by_index = torch.where(holders > 0, held / holders.clamp(min=1), mean)
        self._mean = torch.cat([by_index, torch.tensor([mean], dtype=torch.float64)])

    def aggregate(self, found: Returned) -> None:
        """Add the sum of a round: see :meth:`counted`."""
        for upload in found.uploads.values():
            for name, value in upload.items():
                self._sum[name] = self._sum[name] + value.double()
        self._taken |= dict.fromkeys(self._nodes, found.round)

    def take_over(
        self, old: int, new: int, restored: bool, rank: int | None = None
    ) -> None:
        """Note that a node came back under another id, with its c_k or without."""
        taken = self._taken.pop(old, None)
        if restored and taken is not None:
            self._taken[new] = taken

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, int]]:
        """The sum, and in which round each node was part of it."""
        taken = {names[n]: number for n, number in self._taken.items() if n in names}
        return {_SUM: dict(self._sum), _COUNTS: {_MEAN: self._mean}}, taken

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, int],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""
        self._sum, self._mean = dict(saved[_SUM]), saved[_COUNTS][_MEAN]
        self._taken = {nodes[name]: number for name, number in taken.items()}

    def __str__(self) -> str:
        return (
            f"{self.name} (sums alone, weights {self.weights}, normalisation "
            f"{self.normalisation}, scope {self.scope})"
        )
