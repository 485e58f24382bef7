r"""What a round releases under differential privacy: clipped sums and noise.

Every asked node adds the same whatever its examples: what it was sent, changed by
c_k Delta_k with c_k = min(1, C / ||Delta_k||), Delta_k being the changes of its factors
and its head together. One that has not answered adds what it was sent, so that the
mean is over a number that no node's data decides.

Where factors are averaged, ||Delta_k|| is the norm of all changed numbers. Where
products are aggregated, it is that of s (B_k A_k - P_k) and of the head's change.
Their sum D comes in two passes, with orthonormal E and Q: Y = D E, its first columns,
and then R = Q^T D for the other columns alone, as Q^T Y is there already. What one node
changes in both together is at most ||D E||^2 + ||D - D E E^T||^2 = ||D||^2. So all that
is released gets noise of z C (of the products: over s), as one Gaussian mechanism
would. R is linear in the nodes, so noise is never multiplied by noise.

Where the best approximation of D is aggregated in place of its leading columns, the
noise is on what D is along the factors that all trained from: see ``methods.tangent``.
Their directions are known before, and Y = D E and W = Q^T D (I - E E^T) have
r (d_out + d_in - r) numbers. Where D is decomposed as it is, all d_out d_in of its
numbers get noise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilora_app.federation.clipping import Quantile
from ilora_app.federation.limits import begun, update_norms
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair, only
from ilora_app.methods import Method, tangent
from ilora_app.methods.state import DENSE, MEANS, TANGENT, GlobalState, Update
from ilora_app.methods.sums import (
    Matrices,
    Sketch,
    dense,
    joined,
    leading_basis_of,
    one_update,
)
from ilora_app.privacy.noise import Draw, gaussian


@dataclass(frozen=True)
class Release:
    """Makes one update of a round's, of which no single one can be told.

    Attributes:
        clip: C.
        multiplier: z.
        scaling: s.
        draw: makes standard normal numbers of a shape.
        quantile: which C is next; None: C stays.

    """

    clip: float
    multiplier: float
    scaling: float
    draw: Draw = gaussian
    quantile: Quantile | None = None

    def norms(self, sketch: Sketch, updates: Sequence[Update]) -> list[float]:
        """||Delta_k|| of every update."""
        averaged = sketch.sums.kind == MEANS
        return update_norms(updates, None if averaged else self.scaling)

    def after(self, sketch: Sketch, updates: Sequence[Update]) -> "Release":
        """What releases the next round."""
        if self.quantile is None:
            return self
        how = self.norms(sketch, updates), self.multiplier
        return replace(self, clip=self.quantile.after(self.clip, *how))

    def update(
        self,
        method: Method,
        state: GlobalState,
        sketch: Sketch,
        updates: Sequence[Update],
        up: Sequence[str],
    ) -> Update:
        """Clip, add up, add noise, and make one update of all.

        Args:
            method: that is run.
            state: that nodes trained from.
            sketch: which sums the method needs.
            updates: of every asked node.
            up: groups of tensors that nodes return.

        """
        averaged = sketch.sums.kind == MEANS
        norms, multiplier = self.norms(sketch, updates), self.multiplier
        if self.quantile is not None:
            multiplier = self.quantile.left(len(updates), multiplier)
        parts = [min(1.0, self.clip / norm) if norm else 1.0 for norm in norms]
        pairs = list(zip(updates, parts, strict=True))
        spread = multiplier * self.clip
        groups = up if averaged else [group for group in up if group == "head"]
        ends = (only(_clipped(u, c, sketch.rank), groups) for u, c in pairs)
        flat = {**state.adapter.named_tensors(), **self._mean(ends, spread)}
        whole = AdapterState.from_named_tensors(flat)
        head = whole.head
        if averaged:
            return one_update(state, head, whole.factors, False, len(updates))
        terms = [terms_of(u, c, sketch.sums.changed) for u, c in pairs]
        spread /= self.scaling
        if sketch.sums.kind == TANGENT:
            factors = self._along(state, terms, spread)
            return one_update(state, head, factors, True, len(updates))
        Y = self._mean((sketch.first(own) for own in terms), spread, torch.float64)
        if sketch.sums.kind == DENSE:
            return one_update(state, head, dense(Y), True, len(updates))
        Q = leading_basis_of(method, state, head, Y)
        Q = {module: value.double() for module, value in Q.items()}
        later = (_behind(Y, sketch.multiply(1, own, Q)) for own in terms)
        rest = self._mean(later, spread, torch.float64)
        R = {m: torch.cat([Q[m].T @ Y[m], value], dim=1) for m, value in rest.items()}
        return one_update(state, head, joined(Y, Q, R), True, len(updates))

    def _along(
        self,
        state: GlobalState,
        terms: Sequence[Mapping[str, Pair]],
        spread: float,
    ) -> LoraFactors:
        """P(D) with noise, by module."""
        directions = tangent.directions_of(state.adapter.factors)
        parts = (tangent.along(own, directions) for own in terms)
        found = self._mean(parts, spread, torch.float64)
        return tangent.joined(found, directions)

    def _mean(
        self,
        parts: Iterable[Mapping[str, Tensor]],
        spread: float,
        dtype: torch.dtype = torch.float32,
    ) -> dict[str, Tensor]:
        """(sum of parts + noise of a standard deviation) / their number, by name."""
        total: dict[str, Tensor] = {}
        count = 0
        for count, part in enumerate(parts, 1):  # one after the other: they are long
            for name, value in part.items():
                if count == 1:
                    total[name] = torch.zeros_like(value, dtype=torch.float64)
                total[name] += value
        for value in total.values():
            value += spread * self.draw(value.shape)
        return {name: (value / count).to(dtype) for name, value in total.items()}


def terms_of(update: Update, part: float, changed: bool) -> dict[str, Pair]:
    """(L, R) with L R = c (B A - P), or P + c (B A - P), by module."""
    found = {}
    for module, (B, A) in update.adapter.factors.items():
        B0, A0 = update.received.adapter.factors[module]
        old = -part if changed else 1.0 - part
        left = torch.cat([part * B.double(), old * B0.double()], dim=1)
        found[module] = (left, torch.cat([A.double(), A0.double()]))
    return found


def _behind(Y: Matrices, R: Matrices) -> dict[str, Tensor]:
    """Columns of R behind those that Y has told already."""
    return {module: value[:, Y[module].shape[1] :] for module, value in R.items()}


def _clipped(update: Update, part: float, rank: int) -> dict[str, Tensor]:
    """What a node was sent, changed by a part of what it changed; at r_max."""
    old, new = begun(update).pad(rank), update.adapter.pad(rank)
    before, after = old.named_tensors(), new.named_tensors()
    return {n: before[n] + part * (v - before[n]) for n, v in after.items()}
