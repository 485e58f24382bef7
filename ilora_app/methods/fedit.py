"""FedIT (arXiv 2305.05644): the mean of A and the mean of B, each by itself."""

from typing import Any

import torch

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    beside,
    mean_factors,
    mean_head,
    subtract,
)
from ilora_app.lora.initialisation import gain_squared
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    DIRECTIONS,
    MEANS,
    Aggregate,
    GlobalState,
    Share,
    Sums,
    Update,
    weights_of,
)
from ilora_app.settings import Settings
from ilora_app.settings.model import GAINS


class FedIT(Method):
    r"""A = sum_k p_k pad(A_k), B = sum_k p_k pad(B_k); client k gets the first r_k.

    Padding with zeros is our extension to unequal ranks. The product B A is not the
    mean of the clients' products: it differs by the cross terms
    B A - D = sum_{j != k} p_j p_k (B_j A_k - B_k A_k).

    With the QR start, g (Q, R) goes through the same means, where a direction that few
    clients hold shrinks, and what its product has become is taken out: the model is
    W0 + s (B A - Q diag(c) R), which without training is W0 at every rank.

    Args:
        qr_start: initial arrays are QR directions of W0; otherwise B A = 0.
        init_gain: ``paper`` (g = 1) or ``scaled``; read with ``qr_start``.

    Raises:
        ValueError: an unknown gain.

    """

    setting_keys = frozenset({"init-gain"})
    initialisations = ("standard", "qr")

    def __init__(self, *, qr_start: bool = False, init_gain: str = "paper") -> None:
        if init_gain not in GAINS:
            raise ValueError(f"init_gain {init_gain!r}: one of {GAINS}")
        self.qr_start = qr_start
        self.init_gain = init_gain

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read start and gain."""
        return {
            "qr_start": settings.model.initialisation == "qr",
            "init_gain": settings.model.init_gain,
        }

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Refuse a server's step where a QR start goes through the means."""
        m = settings.method
        if settings.model.initialisation != "qr":
            return {}
        why = "is not used, as what a qr start becomes is known for plain means alone"
        step = (
            ("server-rate", m.server_rate, "1"),
            ("server-momentum", m.server_momentum, 0.0),
        )
        return {
            key: f"{key} = {v!r}: {why}" for key, v, default in step if v != default
        }

    def details(self) -> dict[str, object]:
        """Start."""
        start = f"QR directions, gain {self.init_gain}"
        return {"Start": start if self.qr_start else "B A = 0"}

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start from QR directions, all of them taken out, or from B A = 0."""
        if not self.qr_start:
            return GlobalState(initial)
        squared = gain_squared(initial.factors, initial.factors.rank, self.init_gain)
        factors, offset = {}, {}
        for module, (Q, R) in initial.factors.items():
            g = squared[module] ** 0.5
            factors[module] = (g * Q, g * R)
            offset[module] = (squared[module] * Q, R)
        adapter = AdapterState(LoraFactors(factors), initial.head)
        return GlobalState(adapter, LoraFactors(offset))

    def share(self, state: GlobalState, rank: int) -> Share:
        """Cut for one client; what is taken out is Q C R with a diagonal C."""
        cut = state.adapter.cut(rank)
        if state.offset is None:
            return Share(cut)
        coefficients = {}
        for module, (L, R) in state.offset.items():
            C = torch.zeros(rank, R.shape[0])
            # L = Q diag(c), and the columns of Q have length 1.
            C.diagonal().copy_(torch.linalg.vector_norm(L[:, :rank], dim=0))
            coefficients[module] = C
        return Share(cut, coefficients, DIRECTIONS)

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """As plain LoRA on W0: ([B, -L], [A; R]) where a QR start was taken out."""
        cut = state.adapter if rank is None else state.adapter.cut(rank)
        if state.offset is None:
            return cut
        offset = state.offset.cut(cut.factors.rank)
        return AdapterState(subtract(cut.factors, offset.pairs), cut.head)

    def sums(self, state: GlobalState) -> Sums:
        """Sums of padded factors."""
        return Sums(MEANS)

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the means of A, B and the head; the start goes through the same."""
        weights = weights_of(updates)
        old, parts = state.adapter.factors, [u.adapter.factors for u in updates]
        adapter = AdapterState(
            beside(old, mean_factors(parts, weights)),
            mean_head([u.adapter.head for u in updates], weights),
        )
        offset = None
        if state.offset is not None:
            index = torch.arange(1, old.rank + 1)
            held = torch.zeros(old.rank)
            for update, weight in zip(updates, weights, strict=True):
                held += weight * (update.adapter.factors.rank >= index)
            offset = LoraFactors(
                {m: (L * held**2, R) for m, (L, R) in state.offset.items()}
            )
        return Aggregate(state.next(adapter, offset=offset))
