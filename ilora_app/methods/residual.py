"""What ILoRA does with the directions that a cut leaves out.

``drop`` forgets them (the paper). ``merge`` gives the whole increment of a round to
the base of every client, for good. ``send`` lets the base of a client hold those
directions of the model that its rank cannot train, for the round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.increments import received_terms, returned_terms, scale
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of
from ilora_app.settings import Settings
from ilora_app.settings.head import AUTO
from ilora_app.settings.method import INCREMENTS, PRODUCTS, UPDATE

_NEEDS = {
    "merge": ("product", "products", "of which it keeps what is cut away"),
    "send": (
        "update",
        "increments",
        "as the product of a client's factors is not all that it holds",
    ),
}


def summed(cut: str, aggregate: str, residual: str) -> tuple[str, str]:
    """What ``auto`` means for ``aggregate`` and ``residual`` of ILoRA.

    Increments of the update, and what a rank cannot train is sent, which ended best;
    with ``cut="product"``, products whose rest is dropped, as published.
    """
    if aggregate == AUTO:
        aggregate = INCREMENTS if cut == UPDATE else PRODUCTS
    if residual == AUTO:
        residual = "send" if (cut, aggregate) == (UPDATE, INCREMENTS) else "drop"
    return aggregate, residual


def resolved(settings: Settings) -> Settings:
    """What ``auto`` means under ILoRA: as :func:`summed`; QR start as published."""
    chosen, model = settings.method, settings.model
    aggregate, residual = summed(chosen.cut, chosen.aggregate, chosen.residual)
    if model.initialisation == AUTO:
        start = "standard" if chosen.cut == UPDATE else "qr"
        model = replace(model, initialisation=start)
    chosen = replace(chosen, aggregate=aggregate, residual=residual)
    return replace(settings, model=model, method=chosen)


def problem(residual: str, cut: str, aggregate: str) -> str:
    """What a residual needs and has not; empty where all fits."""
    if residual not in _NEEDS:
        return ""
    needed_cut, needed_aggregate, why = _NEEDS[residual]
    if (cut, aggregate) == (needed_cut, needed_aggregate):
        return ""
    both = f"cut = {needed_cut!r} and aggregate = {needed_aggregate!r}"
    return f"expected drop, or {both}, {why}"


def behind(factors: LoraFactors, rank: int) -> dict[str, Tensor]:
    """Directions of (B, A) behind the first ``rank``, as one tensor a module.

    Row i is (c_i b_i, a_i / c_i) with c_i^2 = ||a_i|| / ||b_i||: the product is that of
    (B, A), and one scale serves both halves where numbers travel in int8.

    Returns:
        module -> shape (r_max - rank, d_out + d_in); empty where there are none.

    """
    if rank >= factors.rank:
        return {}
    return {
        module: _rows(B[:, rank:].T, A[rank:]) for module, (B, A) in factors.items()
    }


def _rows(b: Tensor, a: Tensor) -> Tensor:
    """Of b (n, d_out) and a (n, d_in), balanced."""
    lengths = [side.norm(dim=1, keepdim=True) for side in (b, a)]
    c = torch.ones_like(lengths[0])
    both = (lengths[0] > 0) & (lengths[1] > 0)
    c[both] = (lengths[1][both] / lengths[0][both]).sqrt()
    return torch.cat([b * c, a / c], dim=1)


def merge(
    state: GlobalState,
    updates: Sequence[Update],
    head: Mapping[str, Tensor],
    decomposition: str,
    energy: float,
) -> Aggregate:
    """Cut D as published, and give the whole increment to every client's base.

    Args:
        state: the model, with a ledger.
        updates: of the clients.
        head: its next value.
        decomposition: of D.
        energy: part of the squared norm of the increment that is kept.

    """
    assert state.ledger is not None
    parts, by = [u.adapter.factors for u in updates], weights_of(updates)
    rank = state.adapter.factors.rank
    cut, kept = truncate_mean(parts, by, rank, decomposition)
    terms = [*returned_terms(updates), *scale(received_terms(updates), -1.0)]
    both, signed = [part for part, _ in terms], [weight for _, weight in terms]
    ledger = state.ledger.append_sum(both, signed, energy)
    adapter = AdapterState(cut.to(torch.float32), head)
    return Aggregate(state.next(adapter, ledger=ledger), kept)
