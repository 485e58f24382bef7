"""ILoRA (arXiv 2511.16069): QR initialisation and concatenated QR aggregation."""

from logging import INFO
from typing import Any

import torch
from flwr.supercore import log
from torch import Tensor

from ilora_app.lora.decomposition import METHODS, truncate_product
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head, stack
from ilora_app.lora.initialisation import GAINS, gain_squared
from ilora_app.settings import Settings
from ilora_app.strategies.base import LoraStrategy
from ilora_app.strategies.state import Aggregate, ModelState, Update, weights_of


class ILoRA(LoraStrategy):
    r"""Factors of unequal rank, aggregated exactly and cut by a decomposition.

    The server computes D = sum_k p_k B_k A_k by concatenation, B_c = [B_1 ... B_K]
    and A_c = [p_1 A_1; ...; p_K A_K], and cuts B_c A_c to r_max without forming it.
    Client k receives the first r_k columns and rows.

    With the QR start, client k begins at g_k (Q[:, :r_k], R[:r_k]) over the base
    W0 - s g_k^2 Q_k R_k. That product is part of D, so the federation's model is
    W0 + s (D - D0) with D0 = sum_k p_k O_k, O_k being what client k's base had
    subtracted: exact in every round, for every rank.

    Args:
        decomposition: ``qr`` (the paper), ``pivoted-qr`` or ``svd``.
        qr_start: initial arrays are QR directions of W0, from
            :func:`~ilora_app.lora.initialisation.qr_directions`; otherwise they are
            factors with B A = 0.
        init_gain: ``paper`` (g = 1) or ``scaled``; read with ``qr_start``.
        common: Flower's constructor names, as in :class:`LoraStrategy`.

    Raises:
        ValueError: an unknown decomposition or gain.

    """

    def __init__(
        self,
        *,
        decomposition: str = "qr",
        qr_start: bool = True,
        init_gain: str = "paper",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if decomposition not in METHODS:
            raise ValueError(f"decomposition {decomposition!r}: one of {METHODS}")
        if init_gain not in GAINS:
            raise ValueError(f"init_gain {init_gain!r}: one of {GAINS}")
        self.decomposition = decomposition
        self.qr_start = qr_start
        self.init_gain = init_gain

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read decomposition, start and gain."""
        return {
            "decomposition": settings.method.decomposition,
            "qr_start": settings.model.initialisation == "qr",
            "init_gain": settings.model.init_gain,
        }

    def begin(self, initial: AdapterState) -> ModelState:
        """Start from QR directions, contained once each, or from B A = 0."""
        if not self.qr_start:
            return ModelState(initial, {}, fresh=True)
        ones = {m: torch.ones(A.shape[0]) for m, (_, A) in initial.factors.items()}
        return ModelState(initial, ones, fresh=True)

    def share(self, state: ModelState, rank: int) -> ModelState:
        """Cut for one client; before the first aggregation with that rank's gain."""
        cut = state.cut(rank)
        if not (state.fresh and self.qr_start):
            return cut
        squared = gain_squared(cut.adapter.factors, rank, self.init_gain)
        factors = {
            module: (squared[module] ** 0.5 * B, squared[module] ** 0.5 * A)
            for module, (B, A) in cut.adapter.factors.items()
        }
        offset = {module: squared[module] * m for module, m in cut.offset.items()}
        return ModelState(AdapterState(LoraFactors(factors), cut.adapter.head), offset)

    def aggregate(self, state: ModelState, updates: list[Update]) -> Aggregate:
        """Concatenate, decompose, cut to r_max; p-weighted mean of head and offset."""
        weights = weights_of(updates)
        rank = state.adapter.factors.rank
        parts = [update.adapter.factors.to(torch.float64) for update in updates]
        pairs, kept, total = {}, torch.zeros(rank, dtype=torch.float64), 0.0
        for module, (B_c, A_c) in stack(parts, weights).items():
            B, A = truncate_product(B_c, A_c, rank, self.decomposition)
            kept += (A * A).sum(dim=1).cpu()
            total += float(((B_c.T @ B_c) * (A_c @ A_c.T)).sum())
            pairs[module] = (B.float(), A.float())
        adapter = AdapterState(
            LoraFactors(pairs), mean_head([u.adapter.head for u in updates], weights)
        )
        offset = _mean_offset(updates, weights, rank)
        energy = kept.cumsum(0) / total if total > 0 else torch.ones_like(kept)
        return Aggregate(ModelState(adapter, offset), tuple(energy.tolist()))

    def summary(self) -> None:
        """Log the settings as a tree."""
        super().summary()
        log(INFO, "\t└──> ILoRA:")
        log(INFO, "\t\t├── Decomposition: %s", self.decomposition)
        start = f"QR directions, gain {self.init_gain}" if self.qr_start else "B A = 0"
        log(INFO, "\t\t└── Start: %s", start)


def _mean_offset(
    updates: list[Update], weights: list[float], rank: int
) -> dict[str, Tensor]:
    """D0 = sum_k p_k O_k, as multiples of the QR directions: shape (r_max,)."""
    mean = {}
    for module in updates[0].received.offset:
        total = torch.zeros(rank, dtype=torch.float64)
        for update, weight in zip(updates, weights, strict=True):
            held = update.received.offset[module]
            total[: held.shape[0]] += weight * held.double()
        mean[module] = total.float()
    return mean
