r"""A node's part of the noise where nobody sees a single update.

Under secure aggregation no server can clip or add noise before it has seen. So a node
scales what it has changed down to C, and adds noise of variance (z C)^2 / t to what it
masks (of products: over s^2), t being the nodes without which no sum is opened: a sum
over K >= t of them has z C at least. Of the second pass Q^T D it sends the columns
behind those of the first alone, as ``federation.release`` does, or it sends what D is
along directions that the server names; and it takes none that is longer than 1.

Numbers are rounded to the step 2^-f of the masked ones before noise, which is rounded
after: sums of rounded Gaussians of so many steps are as good as discrete ones (Kairouz
et al., 2021, arXiv 2102.06387). What rounding adds to a change is taken off C.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, Pair, only
from ilora_app.methods.state import LEADING, MEANS, SKETCH, Sums
from ilora_app.methods.sums import Sketch, terms_of
from ilora_app.node.config import NodeError
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.privacy.budget import Budget
from ilora_app.privacy.noise import Draw, gaussian

CLIENT, UP, PRODUCT = "client", "up/", "product/"
_COARSE = 1e3
_NO_MORE = "noise is made for two sums of products, and no more"
_LONGER = 1e-5
"""By as much a basis in float32 may be longer than 1."""


@dataclass(frozen=True)
class NoiseShare:
    """Clips what a node has changed, and adds its part of the noise.

    Attributes:
        clip: C.
        multiplier: z.
        scaling: s.
        nodes: t.
        bits: f.
        draw: makes standard normal numbers of a shape.

    """

    clip: float
    multiplier: float
    scaling: float
    nodes: int
    bits: int
    draw: Draw = gaussian

    @classmethod
    def of(
        cls, node: Node, facts: Mapping[str, Any], nodes: int, bits: int
    ) -> "NoiseShare | None":
        """Of a run; None where it has no noise.

        z is what this node works out itself, or what the server says where that is
        more, as after a run was resumed.

        Raises:
            NodeError: it cannot work it out, or rounding is too coarse.

        """
        chosen = node.settings.privacy
        if chosen.dp != CLIENT:
            return None
        if not chosen.dp_noise_multiplier and find_spec("dp_accounting") is None:
            raise NodeError.openly(
                "dp = 'client' under secure-aggregation: needs dp-accounting, which is "
                "not installed on this node: pip install dp-accounting"
            )
        z = max(Budget.of(node.settings).multiplier, float(facts.get(wire.NOISE, 0.0)))
        scaling = node.settings.model.lora_scaling
        made = cls(chosen.dp_clip, z, scaling, nodes, bits)
        if made.spread * 2.0**bits < _COARSE * max(1.0, scaling):
            raise NodeError.openly(
                f"dp-clip = {chosen.dp_clip:g}: expected more, as its noise is hardly "
                f"larger than the steps of masked numbers, 2^-{bits}"
            )
        return made

    @property
    def spread(self) -> float:
        """z C / sqrt(t)."""
        return self.multiplier * self.clip / math.sqrt(self.nodes)

    def clipped(
        self, local: LocalRound, trained: Mapping[str, Tensor], sketch: Sketch
    ) -> tuple[dict[str, Tensor], dict[str, Pair]]:
        """What this node returns, changed by c of what it has changed; and its terms.

        Args:
            local: the round.
            trained: what comes back, by flat name.
            sketch: which sums are made.

        Returns:
            Tensors, and (L, R) by module where products are summed.

        Raises:
            NodeError: rounding would take more than half of the clip.
            WireError: more passes are asked for than noise is made for.

        """
        if sketch.sums.kind == SKETCH:
            raise wire.WireError(_NO_MORE)
        start = local.start.named_tensors()
        moved = {n: v.double() - start[n].double() for n, v in trained.items()}
        averaged = sketch.sums.kind == MEANS
        apart = moved if averaged else only(moved, ("head",))
        squared = sum(float(value.square().sum()) for value in apart.values())
        numbers = sum(float(value.numel()) for value in apart.values())
        before = local.start.factors
        own = AdapterState.from_named_tensors({**start, **trained}).factors
        if not averaged:
            changes = terms_of(Sums(MEANS, changed=True), before, own)
            for L, R in changes.values():
                squared += self.scaling**2 * _squared(L.double(), R.double())
                outer, inner = L.shape[0], R.shape[1]
                numbers += self.scaling**2 * sketch.numbers((outer, inner))
        most = self.clip * (1 - _LONGER) - 2.0 ** -(self.bits + 1) * math.sqrt(numbers)
        if most < self.clip / 2:
            raise NodeError.openly(
                f"dp-clip = {self.clip:g}: expected more, as {numbers:.0f} masked "
                f"numbers are rounded to 2^-{self.bits}"
            )
        part = min(1.0, most / math.sqrt(squared)) if squared else 1.0
        found = {n: start[n].double() + part * v for n, v in apart.items()}
        if averaged:
            return found, {}
        return found, terms_of(sketch.sums, before, own, part)

    def added(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What this node masks in a pass, with its noise."""
        found = dict(sums)
        for name, value in sums.items():
            if not name.startswith((UP, PRODUCT)):
                continue
            unit = self.scaling if name.startswith(PRODUCT) else 1.0
            noise = self.spread / unit * self.draw(value.shape)
            found[name] = self._rounded(value) + noise
        return found

    def _rounded(self, value: Tensor) -> Tensor:
        steps = np.rint(np.ldexp(value.double().numpy(), self.bits))
        return torch.from_numpy(np.ldexp(steps, -self.bits))


def behind(terms: Mapping[str, Pair], sketch: Sketch) -> dict[str, Pair]:
    """Terms of later passes, without the columns that the first has told."""
    if sketch.sums.kind != LEADING:
        return dict(terms)
    found = {}
    for module, (L, R) in terms.items():
        rest = R.clone()
        rest[:, : sketch.width((L.shape[0], R.shape[1]))] = 0.0
        found[module] = (L, rest)
    return found


def check(number: int, by: Mapping[str, Tensor]) -> None:
    """See that what the server has sent to multiply by makes nothing longer.

    Raises:
        WireError: it does, or this is a pass for which there is no noise.

    """
    if number != 1:
        raise wire.WireError(_NO_MORE)
    for module, Q in by.items():
        finite = bool(Q.isfinite().all())
        longest = float(torch.linalg.matrix_norm(Q.double(), 2)) if finite else 0.0
        if not finite or longest > 1 + _LONGER:
            raise wire.WireError(f"{module}: what is to be multiplied by is no basis")


def _squared(L: Tensor, R: Tensor) -> float:
    """||L R||_F^2, where it is small beside ||L||^2 ||R||^2 as well."""
    return float((torch.linalg.qr(L).R @ R).square().sum())
