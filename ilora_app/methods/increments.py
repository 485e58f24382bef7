r"""What clients have learned in a round, as factors, and the server's step along it.

Delta_k = B_k A_k - P_k, with P_k the product that client k received, is a product of
factors ([B_k, -B], [A_k; A]); so sums of increments stay factored and are never dense.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, inner_products
from ilora_app.methods.state import GlobalState, Update, weights_of

Weighted = list[tuple[LoraFactors, float]]
"""Products B A with their weights in a sum."""

_BEFORE = "before/"
AUTO = "auto"


def received_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k P_k: one product a rank, as clients of one rank receive the same."""
    sums: dict[int, float] = {}
    first: dict[int, LoraFactors] = {}
    for update, weight in zip(updates, weights_of(updates), strict=True):
        first.setdefault(update.rank, update.received.adapter.factors)
        sums[update.rank] = sums.get(update.rank, 0.0) + weight
    return [(first[rank], weight) for rank, weight in sums.items()]


def returned_terms(updates: Sequence[Update]) -> Weighted:
    """sum_k p_k B_k A_k: the products of the clients."""
    parts = [update.adapter.factors for update in updates]
    return list(zip(parts, weights_of(updates), strict=True))


def scale(parts: Weighted, by: float) -> Weighted:
    """Multiply a sum by a number."""
    return [(part, by * weight) for part, weight in parts]


@dataclass(frozen=True)
class ServerStep:
    r"""theta <- theta + eta sum_k p_k Delta_k + beta (theta - theta_before).

    With ``auto`` it is FedExP's (arXiv 2301.09604)
    eta = max(1, sum_k p_k ||Delta_k||^2 / (2 ||sum_k p_k Delta_k||^2)), over all layers
    together.

    Attributes:
        rate: eta; None is ``auto``.
        momentum: beta.

    """

    rate: float | None = 1.0
    momentum: float = 0.0

    @classmethod
    def of(cls, rate: str, momentum: float) -> "ServerStep":
        """Read the run config: a number, or ``auto``."""
        return cls(None if rate == AUTO else float(rate), momentum)

    def rate_of(self, updates: Sequence[Update]) -> float:
        """eta of a round."""
        if self.rate is not None:
            return self.rate
        K, base = len(updates), received_terms(updates)
        ranks = list(dict.fromkeys(update.rank for update in updates))
        parts = [update.adapter.factors for update in updates]
        M = inner_products([*parts, *(part for part, _ in base)])
        C = torch.zeros(K, len(M), dtype=torch.float64)
        for k, update in enumerate(updates):
            C[k, k], C[k, K + ranks.index(update.rank)] = 1.0, -1.0
        p = torch.tensor(weights_of(updates), dtype=torch.float64)
        V = C @ M @ C.T  # <Delta_j, Delta_k>, shape (K, K)
        together = float(p @ V @ p)
        return max(1.0, float(p @ V.diagonal()) / (2 * together)) if together else 1.0

    def terms(
        self,
        state: GlobalState,
        updates: Sequence[Update],
        start: Weighted,
        eta: float,
    ) -> Weighted:
        """The next sum of products.

        Args:
            state: that clients trained from.
            updates: of the round.
            start: what increments are added to.
            eta: of the round.

        """
        deltas = [*returned_terms(updates), *scale(received_terms(updates), -1.0)]
        parts = [*start, *scale(deltas, eta)]
        before = self._before(state)
        if before is not None:
            parts += [
                *scale(start, self.momentum),
                (before.factors, -self.momentum),
            ]
        return parts

    def head(
        self, state: GlobalState, mean: dict[str, Tensor], eta: float
    ) -> dict[str, Tensor]:
        """The next head, from the mean of the clients' heads."""
        before = self._before(state)
        if eta == 1.0 and before is None:
            return mean
        found = {}
        for name, old in state.adapter.head.items():
            new = old.double() + eta * (mean[name].double() - old.double())
            if before is not None:
                new += self.momentum * (old.double() - before.head[name].double())
            found[name] = new.to(old.dtype)
        return found

    def buffers(self, model: AdapterState) -> dict[str, Tensor]:
        """What the next round needs of this one: the model before it, for momentum."""
        if not self.momentum:
            return {}
        flat = model.named_tensors()
        return {_BEFORE + name: value for name, value in flat.items()}

    def _before(self, state: GlobalState) -> AdapterState | None:
        """The model before the state; None in round 1, and without momentum."""
        flat = {
            name.removeprefix(_BEFORE): value
            for name, value in state.buffers.items()
            if name.startswith(_BEFORE)
        }
        return AdapterState.from_named_tensors(flat) if flat else None
