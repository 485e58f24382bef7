"""What FedAdamW and FedLADA share on the server: a global direction, second moments.

g = -(sum_k p_k (theta_k - theta)) / T, T = sum_k p_k T_k, is how far the clients went
in the last round for every unit of learning rate, with T_k the sum of the rates of the
steps of client k. In factor coordinates it holds for one basis: where a method makes a
new one every round it is turned, as what moves factors is: so that dB A and B dA stay.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.corrections.correction import NAME, Correction, Holder, Returned
from ilora_app.corrections.moments import MEANS, Moments
from ilora_app.corrections.shapes import (
    Flat,
    basis_of,
    factors_of,
    times,
    weighted_total,
)
from ilora_app.lora.control import displacement_in, within_scope, zeros_like
from ilora_app.lora.factors import AdapterState, LoraFactors

TRAVELLED, STEPS, MOMENT = "travelled", "steps", "moment/"
WEIGHT, SYNC, BLOCKS = "direction-weight", "moment-sync", "second-moments"


class Directed(Correction):
    """Server half.

    Args:
        weight: of the direction in a client's step.
        sync: how second moments are put together: see :class:`Moments`.
        scope: of the direction: ``all``, or the ``head`` where factors begin anew.
        turns: factors have another basis in every round.

    """

    follows = True

    def __init__(
        self, weight: float, sync: str, scope: str = "all", turns: bool = False
    ) -> None:
        self.weight, self.scope = weight, scope
        self.moments = Moments(sync)
        self._turns = turns
        self._like = AdapterState(LoraFactors({}), {})
        self._direction: AdapterState | None = None
        self._basis: Mapping[str, Tensor] = {}

    def begin(self, adapter: AdapterState) -> None:
        """Start without a direction and without moments."""
        self._like = within_scope(adapter, self.scope)
        self._direction, self._basis = None, {}
        self.moments.begin(adapter.named_tensors())

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState | None:
        """g at r_max, in the basis of the factors that go with it; None in round 1."""
        if self._direction is None or not self._turns or not self._basis:
            return self._direction
        return displacement_in(self._direction, factors_of(self._basis), received)

    def more(self) -> Mapping[str, AdapterState]:
        """Second moments at r_max, where they are sent entry by entry."""
        means = self.moments.entries()
        return {MOMENT: AdapterState.from_named_tensors(means)} if means else {}

    def facts(self) -> dict[str, str | float | list[float]]:
        """Its name, the weight, the steps behind the moments, and their block means."""
        found: dict[str, str | float | list[float]] = {
            NAME: self.name,
            WEIGHT: self.weight,
            SYNC: self.moments.sync,
            STEPS: self.moments.steps(),
        }
        blocks = self.moments.blocks()
        return {**found, BLOCKS: blocks} if blocks else found

    def expects(self, sent: Flat, returned: Flat) -> Flat:
        """What a client uploads, by the shapes of what else it returns."""
        found = {TRAVELLED: torch.zeros(()), STEPS: torch.zeros(())}
        for name, value in returned.items() if self.moments.are_synchronised else ():
            like = value if self.moments.sync in MEANS else torch.zeros(())
            found[MOMENT + name] = like
        return found

    def sizes(self, upload: Flat) -> dict[str, float]:
        """Steps, rates, and the gradient behind v of every tensor, each by itself.

        v holds squares, of sizes that differ by orders of magnitude between tensors,
        and is far smaller than the number of steps: sqrt(mean(v)) is compared, which
        no rank changes.
        """
        return {
            _told(name): abs(float(value))
            if name in (TRAVELLED, STEPS)
            else float(value.double().abs().mean().sqrt())
            for name, value in upload.items()
        }

    def within(self, upload: Flat, parts: Mapping[str, float]) -> Flat:
        """Take an upload so far that :meth:`sizes` are these parts of what they are."""
        return {
            name: times(
                value, parts[_told(name)] ** (2 if name.startswith(MOMENT) else 1)
            )
            for name, value in upload.items()
        }

    def aggregate(self, found: Returned) -> None:
        """Take the direction of this round, and its second moments."""
        # A negative one could bring the sum near zero, and g near infinity.
        travelled = sum(
            w * max(float(found.uploads[n][TRAVELLED]), 0.0)
            for n, w in found.weights.items()
        )
        if not 0 < travelled < float("inf"):
            return
        before = self._direction or zeros_like(self._like)
        flat = dict(before.named_tensors())
        for name, value in flat.items():
            total = weighted_total(found.moved, found.weights, name, value)
            if total is not None:  # a factor without a turn keeps its direction
                flat[name] = (-total / travelled).to(value.dtype)
        if not all(bool(value.isfinite().all()) for value in flat.values()):
            return
        self._direction = AdapterState.from_named_tensors(flat)
        self._basis = basis_of(found.received) if self._turns else {}
        self.take_moments(found)

    def take_moments(self, found: Returned) -> None:
        """Take the second moments of a round."""
        moments = {
            node: {
                name.removeprefix(MOMENT): value
                for name, value in upload.items()
                if name.startswith(MOMENT)
            }
            for node, upload in found.uploads.items()
        }
        steps = sum(
            w * max(float(found.uploads[n][STEPS]), 0.0)
            for n, w in found.weights.items()
        )
        self.moments.take(moments, found.weights, steps)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """The direction, its basis, and the moments, for a checkpoint."""
        if self._direction is None:
            return {}, {}
        found: dict[str, Flat] = {"direction": self._direction.named_tensors()}
        found["moments"] = self.moments.saved()
        return {**found, "basis": self._basis} if self._basis else found, {}

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""
        if "direction" in saved:
            self._direction = AdapterState.from_named_tensors(saved["direction"])
            self._basis = saved.get("basis", {})
            self.moments.load(saved["moments"])

    def __str__(self) -> str:
        return f"{self.name} (weight {self.weight:g}, moments {self.moments.sync})"


def _told(name: str) -> str:
    """What a tensor of an upload is called where it is too large."""
    if name.startswith(MOMENT):
        return f"second moments of {name.removeprefix(MOMENT)}"
    return "sum of rates" if name == TRAVELLED else "number of steps"
