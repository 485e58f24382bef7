"""ILoRA (arXiv 2511.16069): QR initialisation and concatenated QR aggregation."""

from typing import Any

import torch

from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head, subtract
from ilora_app.lora.ledger import Ledger
from ilora_app.methods import qr_start as starts
from ilora_app.methods import residual as residuals
from ilora_app.methods.flexlora import singular_vectors
from ilora_app.methods.increments import received_terms, returned_terms, scale
from ilora_app.methods.method import Method
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import (
    BEHIND,
    LEADING,
    PRODUCT,
    SKETCH,
    Aggregate,
    GlobalState,
    Share,
    Sums,
    Update,
    learned_in_base,
    weights_of,
)
from ilora_app.settings import Settings
from ilora_app.settings.method import AGGREGATES, CUTS, DECOMPOSITIONS, RESIDUALS
from ilora_app.settings.model import GAINS


class ILoRA(Method):
    r"""Factors of unequal rank: concatenated, and cut by a decomposition.

    [B_1 ... B_K] [p_1 A_1; ...; p_K A_K] = sum_k p_k B_k A_k exactly, and its cut to
    r_max never forms the product. Client k receives the first r_k columns and rows.

    QR start: client k begins at g_k (Q[:, :r_k], R[:r_k]) over the base W0 - s O_k,
    O_k = g_k^2 Q_k R_k, so at W0.

    ``cut="update"``: the server keeps U, what was learned. The model is W0 + s U, and
    from round 2 on client k starts from the cut of U to r_k, over W0 itself.

    ``cut="product"`` (the paper): the server keeps D, in which the start is contained.
    The model is W0 + s (D - D0) with D0 = sum_k p_k O_k, and client k starts at
    W0 + s P_k (D - D0), P_k being the projector on its columns of B.

    ``aggregate="increments"``: Delta_k = B_k A_k - P_k, P_k being the product that
    client k received; U_t = cut(U_t-1 + eta sum_k p_k Delta_k + beta (U_t-1 - U_t-2)),
    so that what a client cannot hold is not taken for forgotten. D likewise.
    ``"products"`` (the paper): D_t = cut(sum_k p_k B_k A_k).

    ``residual="send"``: client k trains the first r_k directions of U, and its base
    holds the others, W0 + s (U - cut_{r_k}(U)): all start from the same model. With svd
    B = U S and A = V^T then, as LoRA has it: small B, and A of the scale of its start.

    Args:
        cut, aggregate: as above; ``auto`` sums increments of the update, else products.
        decomposition: ``qr`` (the paper), ``pivoted-qr`` or ``svd``.
        qr_start: initial arrays are ``qr_directions`` of W0; None: where D is cut.
        init_gain: ``paper`` (g = 1) or ``scaled``; read with ``qr_start``.
        residual: of :mod:`~ilora_app.methods.residual`; ``auto`` sends where it can.
        residual_energy: part of an increment's squared norm that ``merge`` keeps.
        step: eta and beta, for increments.

    Raises:
        ValueError: a value outside its choices, or merge with what it cannot have.

    """

    setting_keys = frozenset(
        {
            "cut", "aggregate", "decomposition", "init-gain", "residual",
            "residual-energy", "control-basis",
        }
    )  # fmt: skip
    initialisations = ("qr", "standard")
    control_by_default = True
    server_step = "products"

    def __init__(
        self,
        *,
        cut: str = "update",
        aggregate: str = "auto",
        decomposition: str = "svd",
        qr_start: bool | None = None,
        init_gain: str = "paper",
        residual: str = "auto",
        residual_energy: float = 1.0,
        step: ServerStep | None = None,
    ) -> None:
        aggregate, residual = residuals.summed(cut, aggregate, residual)
        for name, value, choices in (
            ("cut", cut, CUTS),
            ("aggregate", aggregate, AGGREGATES),
            ("decomposition", decomposition, DECOMPOSITIONS),
            ("init_gain", init_gain, GAINS),
            ("residual", residual, RESIDUALS),
        ):
            if value not in choices:
                raise ValueError(f"{name} {value!r}: one of {choices}")
        if wrong := residuals.problem(residual, cut, aggregate):
            raise ValueError(f"residual {residual!r}: {wrong}")
        self.cut = cut
        self.qr_start = cut == "product" if qr_start is None else qr_start
        self.increments = aggregate == "increments"
        self.decomposition, self.init_gain = decomposition, init_gain
        self.residual, self.residual_energy = residual, residual_energy
        self.step = step or ServerStep()
        if not (self.increments or self.step.is_plain):
            raise ValueError(f"step {step}: needs aggregate = 'increments'")

    @classmethod
    def resolved(cls, settings: Settings) -> Settings:
        """As measured to be best where the update is cut, else as published."""
        return residuals.resolved(settings)

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read what the constructor takes."""
        names = ("cut", "aggregate", "decomposition", "residual", "residual_energy")
        return {
            **{name: getattr(settings.method, name) for name in names},
            "qr_start": settings.model.initialisation == "qr",
            "init_gain": settings.model.init_gain,
        }

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Refuse to keep what is cut away where nothing of the product is."""
        m = settings.method
        wrong = residuals.problem(m.residual, m.cut, m.aggregate)
        return {"residual": f"residual = {m.residual!r}: {wrong}"} if wrong else {}

    def check_start(self, initial: AdapterState) -> None:
        """Without a QR start, B = 0."""
        if not self.qr_start:
            starts.refuse_a_product(initial.factors)

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
            cut = starts.with_gain(cut, self.init_gain)
        if state.ledger is not None or (state.offset is not None and not state.step):
            return Share(cut, basis=PRODUCT)
        if state.offset is None:
            send = self.residual == "send" and state.step > 0  # before, U is 0
            rest = residuals.behind(state.adapter.factors, rank) if send else {}
            return Share(cut, rest, BEHIND)
        coefficients = {
            module: B.T @ state.offset[module][0]  # (r_k, r_max)
            for module, (B, _) in cut.factors.items()
        }
        return Share(cut, coefficients)

    def model(self, state: GlobalState, rank: int | None = None) -> AdapterState:
        """As plain LoRA on W0: (B, A - C R) at a rank, ([B, -L], [A; R]) at none.

        With ``residual="merge"`` it is T at every rank, with ``send`` all of U.
        """
        if state.ledger is not None:
            return AdapterState(learned_in_base(state), state.adapter.head)
        if state.offset is None:
            if rank is None or self.residual == "send":
                return state.adapter
            return state.adapter.cut(rank)
        if rank is None:
            both = subtract(state.adapter.factors, state.offset.pairs)
            return AdapterState(both, state.adapter.head)
        share = self.share(state, rank)
        if state.step == 0:
            out = {m: A for m, (_, A) in share.adapter.factors.items()}
        else:
            out = {m: C @ state.offset[m][1] for m, C in share.coefficients.items()}
        pairs = {m: (B, A - out[m]) for m, (B, A) in share.adapter.factors.items()}
        return AdapterState(LoraFactors(pairs), share.adapter.head)

    def evaluation_share(self, state: GlobalState, rank: int) -> Share:
        """The model at this rank; with a ledger, the head over the base."""
        if self.residual == "send":
            return self.share(state, rank)
        if state.ledger is not None:
            return Share(AdapterState(LoraFactors({}), state.adapter.head))
        return Share(self.model(state, rank))

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Concatenate, decompose, cut to r_max; the head by its p-weighted mean."""
        weights = weights_of(updates)
        mean = mean_head([u.adapter.head for u in updates], weights)
        if state.ledger is not None:
            chosen = self.decomposition, self.residual_energy
            return residuals.merge(state, updates, mean, *chosen)
        first, update = state.step == 0, self.cut == "update"
        eta = self.step.rate_of(updates) if self.increments else 1.0
        offset = None
        if not update:
            kept = self.increments and not first
            offset = state.offset if kept else starts.mean_offset(state, updates)
        if self.increments:
            start = [(state.adapter.factors, 1.0)]
            if first:  # of U nothing is there, of D what clients started from
                start = [] if update else received_terms(updates)
            parts = self.step.of_products(state, updates, start, eta)
        else:
            parts = returned_terms(updates)
            if update and first:
                parts += scale(received_terms(updates), -1.0)
        factors, by = [part for part, _ in parts], [weight for _, weight in parts]
        rank = state.adapter.factors.rank
        cut, energy = truncate_mean(factors, by, rank, self.decomposition)
        if offset is not None:
            energy = starts.energy_of_learned(factors, by, cut, offset)
        head, buffers = self.step.head(state, mean, eta)
        if self.residual == "send" and self.decomposition == "svd":
            cut = singular_vectors(cut)
        adapter = AdapterState(cut.to(torch.float32), head)
        buffers |= self.step.remember(starts.products_before(state, offset))
        return Aggregate(state.next(adapter, offset=offset, buffers=buffers), energy)

    def sums(self, state: GlobalState) -> Sums:
        """Sums of products, or of their changes; with ``cut="update"`` alone."""
        leading = self.decomposition == "qr"
        return Sums(LEADING if leading else SKETCH, self.increments or not state.step)

    def details(self) -> dict[str, object]:
        """Say what was chosen."""
        return {
            "Cut": self.cut,
            "Aggregate": "increments" if self.increments else "products",
            "Decomposition": self.decomposition,
            "Start": f"QR, gain {self.init_gain}" if self.qr_start else "B A = 0",
            "Residual": f"{self.residual}, energy {self.residual_energy:g}",
        }
