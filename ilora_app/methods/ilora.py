"""ILoRA (arXiv 2511.16069): QR initialisation and concatenated QR aggregation."""

from typing import Any

import torch

from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head, stack
from ilora_app.lora.initialisation import gain_squared
from ilora_app.lora.ledger import Ledger, compress
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    PRODUCT,
    Aggregate,
    GlobalState,
    Share,
    Update,
    subtract,
    weights_of,
)
from ilora_app.settings import Settings
from ilora_app.settings.method import DECOMPOSITIONS, RESIDUALS
from ilora_app.settings.model import GAINS


class ILoRA(Method):
    r"""Factors of unequal rank, aggregated exactly and cut by a decomposition.

    The server computes D = sum_k p_k B_k A_k by concatenation, B_c = [B_1 ... B_K]
    and A_c = [p_1 A_1; ...; p_K A_K], and cuts B_c A_c to r_max without forming it.
    Client k receives the first r_k columns and rows.

    With the QR start, client k begins at g_k (Q[:, :r_k], R[:r_k]) over the base
    W0 - s g_k^2 Q_k R_k. That product is part of D, so the federation's model is
    W0 + s (D - D0) with D0 = sum_k p_k O_k, O_k being what client k's base had taken
    out in that round: the exact mean of the clients' models but for the cut of D.

    Args:
        decomposition: ``qr`` (the paper), ``pivoted-qr`` or ``svd``.
        qr_start: initial arrays are QR directions of W0, from
            :func:`~ilora_app.lora.initialisation.qr_directions`; otherwise they are
            factors with B A = 0.
        init_gain: ``paper`` (g = 1) or ``scaled``; read with ``qr_start``.
        residual: ``drop`` (the paper) or ``merge``.
        residual_energy: part of the squared norm of a round's increment that is
            merged; its smallest directions are left out. Read with ``merge``.

    Raises:
        ValueError: an unknown decomposition, gain or residual.

    """

    uses = frozenset(
        {"decomposition", "init-gain", "residual", "residual-energy", "control-basis"}
    )
    start_from = ("qr", "standard")
    corrects = True

    def __init__(
        self,
        *,
        decomposition: str = "qr",
        qr_start: bool = True,
        init_gain: str = "paper",
        residual: str = "drop",
        residual_energy: float = 1.0,
    ) -> None:
        if residual not in RESIDUALS:
            raise ValueError(f"residual {residual!r}: one of {RESIDUALS}")
        if decomposition not in DECOMPOSITIONS:
            raise ValueError(
                f"decomposition {decomposition!r}: one of {DECOMPOSITIONS}"
            )
        if init_gain not in GAINS:
            raise ValueError(f"init_gain {init_gain!r}: one of {GAINS}")
        self.decomposition = decomposition
        self.qr_start = qr_start
        self.init_gain = init_gain
        self.residual = residual
        self.residual_energy = residual_energy

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read decomposition, start, gain and residual."""
        return {
            "decomposition": settings.method.decomposition,
            "qr_start": settings.model.initialisation == "qr",
            "init_gain": settings.model.init_gain,
            "residual": settings.method.residual,
            "residual_energy": settings.method.residual_energy,
        }

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start from QR directions, all of them taken out, or from B A = 0."""
        offset = initial.factors if self.qr_start else None
        ledger = Ledger() if self.residual == "merge" else None
        return GlobalState(initial, offset, ledger)

    def share(self, state: GlobalState, rank: int) -> Share:
        """Cut for one client, with its offset; at the start with that rank's gain.

        The offset is what B still holds of D0: B B^T D0 = B C R with C = B^T L, so a
        client starts at W0 + s P (D - D0), P being the projector on its columns of B.
        """
        cut = state.adapter.cut(rank)
        if state.offset is not None and state.step == 0:
            squared = gain_squared(cut.factors, rank, self.init_gain)
            g = {module: value**0.5 for module, value in squared.items()}
            pairs = {m: (g[m] * Q, g[m] * R) for m, (Q, R) in cut.factors.items()}
            cut = AdapterState(LoraFactors(pairs), cut.head)
        if state.ledger is not None or (state.offset is not None and not state.step):
            return Share(cut, basis=PRODUCT)
        if state.offset is None:
            return Share(cut)
        coefficients = {
            module: B.T @ state.offset[module][0]  # (r_k, r_max)
            for module, (B, _) in cut.factors.items()
        }
        return Share(cut, coefficients)

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """As plain LoRA on W0: (B, A - C R) at a rank, ([B, -L], [A; R]) at none.

        With ``residual="merge"`` it is T at every rank.
        """
        if state.ledger is not None:
            return AdapterState(state.ledger.as_factors(), state.adapter.head)
        if rank is None:
            if state.offset is None:
                return state.adapter
            both = subtract(state.adapter.factors, state.offset.pairs)
            return AdapterState(both, state.adapter.head)
        share = self.share(state, rank)
        if state.offset is None:
            return share.adapter
        if state.step == 0:
            out = {m: A for m, (_, A) in share.adapter.factors.items()}
        else:
            out = {m: C @ state.offset[m][1] for m, C in share.coefficients.items()}
        pairs = {m: (B, A - out[m]) for m, (B, A) in share.adapter.factors.items()}
        return AdapterState(LoraFactors(pairs), share.adapter.head)

    def evaluated(self, state: GlobalState, rank: int) -> Share:
        """The model at this rank; with a ledger, the head over the base."""
        if state.ledger is not None:
            return Share(AdapterState(LoraFactors({}), state.adapter.head))
        return Share(self.model(state, rank))

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Concatenate, decompose, cut to r_max; p-weighted mean of head and D0."""
        weights = weights_of(updates)
        rank = state.adapter.factors.rank
        parts = [update.adapter.factors for update in updates]
        cut, energy = truncate_mean(parts, weights, rank, self.decomposition)
        head = mean_head([u.adapter.head for u in updates], weights)
        adapter = AdapterState(cut.to(torch.float32), head)
        if state.ledger is None:
            offset = _mean_offset(state, updates, weights)
            new = state.next(adapter, offset=offset)
        else:
            both = [*parts, *(u.received.adapter.factors for u in updates)]
            signed = [*weights, *(-weight for weight in weights)]
            added = stack([part.to(torch.float64) for part in both], signed)
            increment = compress(added.pairs, self.residual_energy)
            new = state.next(adapter, ledger=state.ledger.append(increment))
        return Aggregate(new, energy)

    def details(self) -> dict[str, object]:
        """Decomposition, start and residual."""
        merged = f"merge, {self.residual_energy:g} of its energy"
        return {
            "Decomposition": self.decomposition,
            "Start": f"QR directions, gain {self.init_gain}"
            if self.qr_start
            else "B A = 0",
            "Residual": "drop" if self.residual == "drop" else merged,
        }


def _mean_offset(
    state: GlobalState, updates: list[Update], weights: list[float]
) -> LoraFactors | None:
    """D0 = sum_k p_k O_k = L R with L = sum_k p_k B_k C_k of what clients received.

    In round 1, O_k is the product g^2 Q_k R_k, so C_k is g (I 0).
    """
    if state.offset is None:
        return None
    pairs = {}
    for module, (L, R) in state.offset.items():
        mean = torch.zeros_like(L, dtype=torch.float64)
        for update, weight in zip(updates, weights, strict=True):
            B = update.received.adapter.factors[module][0].double()
            if state.step:
                part = B @ update.received.coefficients[module].double()
                mean += weight * part
            else:  # B = g Q, so g B is g^2 Q
                g = torch.linalg.vector_norm(B, dim=0)
                mean[:, : B.shape[1]] += weight * (B * g)
        pairs[module] = (mean.float(), R)
    return LoraFactors(pairs)
