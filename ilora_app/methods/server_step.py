r"""The server's step: theta + eta (mean - theta) + beta (theta - theta_before).

Where a method averages factors, theta are the factors and the head; where it sums
products, they are the products, as weighted sums of factors, and the head.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, group_of
from ilora_app.lora.spread import squared_norms
from ilora_app.methods.increments import (
    Weighted,
    gathered,
    received_terms,
    returned_terms,
    scale,
    spread_of,
)
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of

AUTO = "auto"
_BEFORE, _VELOCITY = "before/", "velocity/"
_ROUNDING = 1e-12
"""A squared change of this part of the squared products is their rounding."""


@dataclass(frozen=True)
class ServerStep:
    r"""How far the server goes along the mean change of the clients.

    With ``auto`` eta is FedExP's (arXiv 2301.09604),
    max(1, sum_k p_k ||Delta_k||^2 / (2 ||sum_k p_k Delta_k||^2)), with
    Delta_k = B_k A_k - P_k over all layers together, P_k the product client k received.

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

    @property
    def is_plain(self) -> bool:
        """The mean itself is the next model."""
        return self.rate == 1.0 and not self.momentum

    def rate_of(self, updates: Sequence[Update]) -> float:
        """eta of a round."""
        if self.rate is not None:
            return self.rate
        weights = weights_of(updates)
        own, common = spread_of(updates, weights)
        p = torch.tensor(weights, dtype=torch.float64)
        together = float(p @ common)
        lengths = squared_norms([update.adapter.factors for update in updates])
        if together <= _ROUNDING * float(p @ lengths):  # nobody has changed anything
            return 1.0
        return max(1.0, float(p @ own) / (2 * together))

    def along_factors(
        self,
        state: GlobalState,
        updates: Sequence[Update],
        made: Aggregate,
        groups: Collection[str],
    ) -> Aggregate:
        """Take the step from one model of factors to the next.

        With u <- eta (mean - theta) + beta u, theta <- theta + u: the same momentum,
        which a factor that does not train in a round keeps for its next turn.

        Args:
            state: that clients trained from.
            updates: of the round.
            made: what the method made of them.
            groups: of tensors that were trained and returned.

        """
        if self.is_plain:
            return made
        eta = self.rate_of(updates)
        old = state.adapter.named_tensors()
        found = dict(made.state.adapter.named_tensors())
        moving = {name: v for name, v in found.items() if group_of(name) in groups}
        moved, buffers = self._move(state, old, moving, eta)
        adapter = AdapterState.from_named_tensors(found | moved)
        kept = {**state.buffers, **made.state.buffers, **buffers}
        return replace(made, state=replace(made.state, adapter=adapter, buffers=kept))

    def of_products(
        self,
        state: GlobalState,
        updates: Sequence[Update],
        start: Weighted,
        eta: float,
    ) -> Weighted:
        """The next sum of products, from increments.

        Args:
            state: that clients trained from.
            updates: of the round.
            start: what increments are added to.
            eta: of the round.

        """
        before = self.before(state)
        if before is not None:
            start = [*scale(start, 1 + self.momentum), (before, -self.momentum)]
        known = gathered([*start, *scale(received_terms(updates), -eta)])
        return [*known, *scale(returned_terms(updates), eta)]

    def head(
        self, state: GlobalState, mean: dict[str, Tensor], eta: float
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The next head, from the mean of the clients' heads; and its velocity."""
        if eta == 1.0 and not self.momentum:
            return mean, {}
        old = state.adapter.named_tensors()
        named = AdapterState(LoraFactors({}), mean).named_tensors()
        moved, buffers = self._move(state, old, named, eta)
        return dict(AdapterState.from_named_tensors(moved).head), buffers

    def remember(self, factors: LoraFactors) -> dict[str, Tensor]:
        """What the next round needs of this one: the products before it."""
        if not self.momentum:
            return {}
        flat = AdapterState(factors, {}).named_tensors()
        return {_BEFORE + name: value for name, value in flat.items()}

    def before(self, state: GlobalState) -> LoraFactors | None:
        """The products before the state; None in round 1, and without momentum."""
        flat = _under(_BEFORE, state.buffers)
        return AdapterState.from_named_tensors(flat).factors if flat else None

    def _move(
        self,
        state: GlobalState,
        old: Mapping[str, Tensor],
        mean: Mapping[str, Tensor],
        eta: float,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """theta + u for the tensors of a mean, and u for the buffers."""
        velocity = _under(_VELOCITY, state.buffers)
        moved, buffers = {}, {}
        for name, value in mean.items():
            u = eta * (value.double() - old[name].double())
            if self.momentum and name in velocity:
                u += self.momentum * velocity[name].double()
            moved[name] = (old[name].double() + u).to(value.dtype)
            if self.momentum:
                buffers[_VELOCITY + name] = u.to(value.dtype)
        return moved, buffers


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
