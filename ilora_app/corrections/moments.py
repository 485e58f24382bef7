"""Second moments of Adam over a federation: one v for all clients to begin with."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.corrections.shapes import Flat, weighted_total
from ilora_app.settings.method import MOMENT_SYNCS

MEANS = ("means",)
"""Ways in which v is sent entry by entry."""

_STEPS = "steps"


class Moments:
    """v of every tensor, from the clients' at the end of a round.

    ``block-means`` sends one number a tensor, the mean of v over its entries: that is
    ||g||^2 over a tensor's gradients, which no change of basis by a rotation changes.
    ``means`` takes the mean entry by entry, over those clients that hold the entry.
    ``none`` has every client begin at zero.

    Args:
        sync: one of these.

    """

    def __init__(self, sync: str) -> None:
        if sync not in MOMENT_SYNCS:
            raise ValueError(f"{sync!r}: expected one of {', '.join(MOMENT_SYNCS)}")
        self.sync = sync
        self.steps = 0.0
        self._like: dict[str, Tensor] = {}
        self._held: dict[str, Tensor] = {}

    @property
    def are_synchronised(self) -> bool:
        """Whether anything of them is sent."""
        return self.sync != "none"

    def begin(self, like: Flat) -> None:
        """Start without moments, for tensors of these names and shapes at r_max."""
        self._like, self._held, self.steps = dict(like), {}, 0.0

    def take(
        self, moments: Mapping[int, Flat], weights: Mapping[int, float], steps: float
    ) -> None:
        """Put the clients' v together; a tensor that nobody returned stays.

        Negative and infinite ones are not taken: v holds squares.

        Args:
            moments: by node; shapes at r_k, or one number each for ``block-means``.
            weights: p_k by node.
            steps: local steps behind them; the count goes on from round to round.

        """
        if not self.are_synchronised:
            return
        fresh = {}
        ones = {
            node: {name: torch.ones_like(v) for name, v in part.items()}
            for node, part in moments.items()
        }
        for name, like in self._like.items():
            shaped = like if self.sync in MEANS else torch.zeros(())
            total = weighted_total(moments, weights, name, shaped)
            held = weighted_total(ones, weights, name, shaped)
            if total is None or held is None:
                continue
            mean = torch.where(held > 0, total / held.clamp(min=1e-300), 0.0).float()
            if bool(mean.isfinite().all()) and bool((mean >= 0).all()):
                fresh[name] = mean
        if fresh:
            self._held |= fresh
            self.steps += steps

    def entries(self) -> dict[str, Tensor]:
        """v entry by entry at r_max, once there is any; zeros where none came yet."""
        if self.sync not in MEANS or not self._held:
            return {}
        return {
            name: self._held.get(name, torch.zeros_like(like))
            for name, like in self._like.items()
        }

    def blocks(self) -> list[float]:
        """One number a tensor, in the order of their sorted names; -1 where none."""
        if self.sync in MEANS or not self._held:
            return []
        return [float(self._held.get(name, -1.0)) for name in sorted(self._like)]

    def saved(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {**self._held, _STEPS: torch.tensor(self.steps, dtype=torch.float64)}

    def load(self, saved: Flat) -> None:
        """Go on from what :meth:`saved` gave."""
        self._held = {n: v for n, v in saved.items() if n != _STEPS}
        self.steps = float(saved[_STEPS])
