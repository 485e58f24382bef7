"""Second moments of Adam put together over the federation, and nothing else.

FedGaLore (arXiv 2602.01746) has its clients begin every round with m = 0 and the v that
the federation shares; its joint part is what AJIVE finds (``moment-sync``). Under any
other method it is what FedAdamW has beside its direction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ilora_app.corrections.correction import Holder, Returned
from ilora_app.corrections.directed import Directed
from ilora_app.corrections.shapes import Flat
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.projector import is_right, projector, turned_moment
from ilora_app.settings.method import SECOND_MOMENTS


class SecondMoments(Directed):
    """Server half; clients take the step of ``DirectedClient`` without a direction.

    Args:
        sync: how second moments are put together: see :class:`Moments`.
        projected: factors are coordinates in projectors, which v follows when they
            change.

    """

    name = SECOND_MOMENTS

    def __init__(self, sync: str, projected: bool = False) -> None:
        super().__init__(0.0, sync)
        self._projected = projected
        self._projectors: dict[str, Tensor] = {}

    def begin(self, adapter: AdapterState) -> None:
        """Start without moments."""
        super().begin(adapter)
        self._projectors = {}

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState | None:
        """No direction; the moments follow to the projectors that go down now."""
        self._follow(received)
        return None

    def aggregate(self, found: Returned) -> None:
        """Take the moments of the round."""
        self._follow(found.received)
        self.take_moments(found)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """The moments, and the projectors that they are in."""
        found: dict[str, Flat] = {"moments": self.moments.saved()}
        if self._projectors:
            found["projectors"] = self._projectors
        return found, {}

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""
        if "moments" in saved:
            self.moments.load(saved["moments"])
            self._projectors = dict(saved.get("projectors", {}))

    def _follow(self, received: LoraFactors) -> None:
        """Turn the moments to the projectors of a round, where those are others."""
        if not self._projected:
            return
        for module, pair in received.items():
            P, before = projector(pair).contiguous(), self._projectors.get(module)
            self._projectors[module] = P
            if before is None or before.equal(P):
                continue
            right = is_right(pair)
            name = f"{module}.{'lora_B' if right else 'lora_A'}"
            v = self.moments.entry(name)
            if v is not None:
                turned = turned_moment(v if right else v.T, before, P)
                fresh = turned if right else turned.T.contiguous()
                self.moments.replace_entry(name, fresh)

    def __str__(self) -> str:
        return f"{self.name} ({self.moments.sync})"
