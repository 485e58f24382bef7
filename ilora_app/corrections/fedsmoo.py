"""FedSMOO (arXiv 2305.11584): a dynamic regulariser around a perturbed gradient.

Client, in every step, with s from the server and mu, h its own:
    q = g(theta) - mu - s,  e = rho q / ||q||,  mu <- mu + e - s,
    step on g(theta + e) + lambda (theta - theta_t) + lambda h;
after the round h <- h + (theta - theta_t). Server: theta <- sum_k p_k theta_k + h-bar,
h-bar the mean of all members' h, and s = rho mean(mu) / ||mean(mu)||.

With lambda = 0 there is no regulariser, neither h nor h-bar [choice: the server's step
does not depend on lambda otherwise, and would not vanish with it].
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.corrections.contributions import Contributions
from ilora_app.corrections.correction import NAME, Correction, Holder, Returned
from ilora_app.corrections.parts import Parts
from ilora_app.corrections.shapes import Flat, rank_of, weighted_total
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings.method import FEDSMOO

RHO, LAMBDA = "fedsmoo-rho", "fedsmoo-lambda"


class FedSMOO(Correction):
    """Server half.

    Args:
        rho: length of the perturbation, over all that trains together.
        weight: lambda.

    """

    name = FEDSMOO
    follows = True
    remembers = True

    def __init__(self, rho: float, weight: float) -> None:
        self.rho, self.weight = rho, weight
        self._like = AdapterState(LoraFactors({}), {})
        self._store: Parts | None = None
        self._parts = Contributions(self._like)
        self._holders: Sequence[Holder] = ()
        self._received = LoraFactors({})
        self._shift: dict[str, Tensor] = {}
        self._trained: set[str] = set()

    def keep_in(self, store: Parts) -> None:
        """Keep h there, and not in memory."""
        self._store = store

    def begin(self, adapter: AdapterState) -> None:
        """Start with h-bar = 0 and s = 0."""
        self._like, self._shift = adapter, {}
        self._parts = Contributions(adapter, store=self._store)

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState | None:
        """s at r_max; None in round 1."""
        self._holders, self._received = holders, received
        return AdapterState.from_named_tensors(self._shift) if self._shift else None

    def facts(self) -> dict[str, str | float | list[float]]:
        """Its name, rho and lambda."""
        return {NAME: self.name, RHO: self.rho, LAMBDA: self.weight}

    def expects(self, sent: Flat, returned: Flat) -> Flat:
        """mu, of the shapes of what else a client returns."""
        return returned

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._parts.last_taken(node)

    def aggregate(self, found: Returned) -> None:
        """Let h-bar and s follow the clients of a round."""
        for node in found.lost:
            self._parts.remove(node)
        # Who gave up directions gives up their part of h.
        for node, part in found.moved.items():
            self._parts.move(node, node, rank_of(part) or None)
        self._parts.add(found.round, found.moved, found.received)
        self._trained = {name for part in found.moved.values() for name in part}
        total, like = {}, self._like.named_tensors()
        for name, value in like.items():
            mean = weighted_total(found.uploads, found.weights, name, value)
            if mean is not None:
                total[name] = mean
        norm = math.sqrt(sum(float(v.square().sum()) for v in total.values()))
        if 0 < norm < math.inf:
            fresh = {n: (self.rho * v / norm).float() for n, v in total.items()}
            zeros = {n: torch.zeros_like(v) for n, v in like.items()}
            self._shift = {**zeros, **self._shift, **fresh}

    def step(self, before: AdapterState, mean: AdapterState) -> AdapterState:
        """sum_k p_k theta_k + h-bar, of what has trained: else it stays as it is."""
        if not self.weight:
            return mean
        how = (self._holders, self._received, "all", "examples")
        shift = self._parts.mean(*how).named_tensors()
        flat = mean.named_tensors()
        return AdapterState.from_named_tensors(
            {
                n: v + shift[n].to(v) if n in self._trained & shift.keys() else v
                for n, v in flat.items()
            }
        )

    def take_over(
        self, old: int, new: int, restored: bool, rank: int | None = None
    ) -> None:
        """Note that a node came back under another id, with its h or without."""
        if restored:
            self._parts.move(old, new, rank)
        else:
            self._parts.remove(old)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """h of every node that may come back, and s, for a checkpoint."""
        parts, taken = self._parts.saved(names)
        return {**parts, "shift": self._shift}, taken

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""
        self._parts.load(saved, taken, nodes)
        self._shift = dict(saved.get("shift", {}))

    def __str__(self) -> str:
        return f"{self.name} (rho {self.rho:g}, lambda {self.weight:g})"
