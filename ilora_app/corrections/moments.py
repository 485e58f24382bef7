"""Second moments of Adam over a federation: one v for all clients to begin with."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.corrections.shapes import Flat, fit, weighted_total
from ilora_app.lora.ajive import shared_moment
from ilora_app.settings.method import MOMENT_SYNCS

MEANS = ("means", "ajive")
"""Ways in which v is sent entry by entry."""

_STEPS = "steps"
_SEED = 0
"""Of the bounds that AJIVE samples."""


class Moments:
    """v of every tensor, from the clients' at the end of a round.

    ``block-means`` sends one number a tensor, the mean of v over its entries: that is
    ||g||^2 over a tensor's gradients, which no change of basis by a rotation changes.
    ``means`` takes the mean entry by entry, over those clients that hold the entry.
    ``ajive`` puts the joint part of the clients' in the place of that mean, wherever it
    is above zero, and no further than the smallest and the largest of the clients' own
    [choice]: an entry near zero, as an unshared one has, would let the first steps run
    off; often nothing is found to be joint; and clients that agree stay as they are.
    ``none`` has every client begin at zero.

    Args:
        sync: one of these.

    """

    def __init__(self, sync: str) -> None:
        if sync not in MOMENT_SYNCS:
            raise ValueError(f"{sync!r}: expected one of {', '.join(MOMENT_SYNCS)}")
        self.sync = sync
        self._steps: dict[str, float] = {}
        self._like: dict[str, Tensor] = {}
        self._held: dict[str, Tensor] = {}

    @property
    def are_synchronised(self) -> bool:
        """Whether anything of them is sent."""
        return self.sync != "none"

    def begin(self, like: Flat) -> None:
        """Start without moments, for tensors of these names and shapes at r_max."""
        self._like, self._held, self._steps = dict(like), {}, {}

    def take(
        self, moments: Mapping[int, Flat], weights: Mapping[int, float], steps: float
    ) -> None:
        """Put the clients' v together; a tensor that nobody returned stays.

        v holds squares: a tensor of which a client says anything negative or infinite
        is not taken from that client.

        Args:
            moments: by node; shapes at r_k, or one number each for ``block-means``.
            weights: p_k by node.
            steps: local steps behind them; the count goes on from round to round, of
                each tensor by itself, as factors may take turns.

        """
        if not self.are_synchronised:
            return
        fresh = {}
        moments = {
            node: {name: v for name, v in part.items() if _are_squares(v)}
            for node, part in moments.items()
        }
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
            mean = (total / held.clamp(min=1e-300)).float()
            if self.sync == "ajive" and like.dim() == 2:
                mean = _joint(moments, weights, name, mean)
            known = held > 0
            if _are_squares(mean):
                # Zeros where nobody said anything would make the first steps run off.
                before = self._held.get(name, mean[known].mean())
                fresh[name] = torch.where(known, mean, before)
        self._held |= fresh
        for name in fresh:
            self._steps[name] = self._steps.get(name, 0.0) + max(steps, 0.0)

    def entry(self, name: str) -> Tensor | None:
        """v of a tensor, entry by entry; None where it is not known so."""
        return self._held.get(name) if self.sync in MEANS else None

    def replace_entry(self, name: str, v: Tensor) -> None:
        """Go on with another v, of the same shape."""
        self._held[name] = v

    def entries(self) -> dict[str, Tensor]:
        """v entry by entry at r_max, once there is any; zeros where none came yet."""
        if self.sync not in MEANS or not self._held:
            return {}
        return {
            name: self._held.get(name, torch.zeros_like(like))
            for name, like in self._like.items()
        }

    def steps(self) -> list[float]:
        """How many are behind the v of a tensor, in the order of their sorted names."""
        return [self._steps.get(name, 0.0) for name in sorted(self._like)]

    def blocks(self) -> list[float]:
        """One number a tensor, in the order of their sorted names; -1 where none."""
        if self.sync in MEANS or not self._held:
            return []
        return [float(self._held.get(name, -1.0)) for name in sorted(self._like)]

    def saved(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        counts = torch.tensor(self.steps(), dtype=torch.float64)
        return {**self._held, _STEPS: counts}

    def load(self, saved: Flat) -> None:
        """Go on from what :meth:`saved` gave."""
        self._held = {n: v for n, v in saved.items() if n != _STEPS}
        counts = zip(sorted(self._like), saved[_STEPS].tolist(), strict=True)
        self._steps = {name: count for name, count in counts if name in self._held}


def _are_squares(v: Tensor) -> bool:
    return bool(v.isfinite().all()) and bool((v >= 0).all())


def _joint(
    moments: Mapping[int, Flat], weights: Mapping[int, float], name: str, mean: Tensor
) -> Tensor:
    """The joint part of a matrix of moments, and its mean where that is zero.

    The blocks share the rows of the longer side, whatever the ranks of the clients.
    """
    nodes = [node for node in weights if name in moments[node]]
    tall = mean.shape[0] >= mean.shape[1]
    blocks = [moments[n][name] if tall else moments[n][name].T for n in nodes]
    long = max(block.shape[0] for block in blocks)
    whole = all(block.shape[0] == long for block in blocks)
    parts = [weights[node] for node in nodes]
    if not whole:  # the longer side is a rank, which clients may not have
        return mean
    total = sum(parts)
    shared = shared_moment(blocks, [p / total for p in parts], _SEED).float()
    found = fit(shared if tall else shared.T, mean.shape)
    low, high = torch.full_like(mean, torch.inf), torch.zeros_like(mean)
    for node in nodes:
        v = moments[node][name]
        held = tuple(slice(0, side) for side in v.shape)
        low[held] = torch.minimum(low[held], v)
        high[held] = torch.maximum(high[held], v)
    return torch.where(found > 0, found.clamp(low, high), mean)
