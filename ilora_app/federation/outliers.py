"""Limits relative to the others of a round: no client moves the model much farther.

With n_k the norm of what client k changed and m the median over the round's clients, an
update with n_k > c m is taken with the factor t_k on every change at which its norm is
c m; one that is a hundred times beyond that is left out. What is measured is relative,
so that it needs no number that a user would have to know, and robust while fewer than
half of the clients are hostile.

Of a drift correction that a client remembers, n_k is the norm of all that it will have
brought, and beyond c m its upload is not taken: a client that kept the whole of what
the server took in part would never again have what the server counts on.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ilora_app.corrections import Correction, shapes
from ilora_app.federation.limits import begun, change_norms, update_norm
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.spread import inner_products
from ilora_app.methods.state import Update

FAR = 100.0
"""So many times beyond the limit, nothing of an update is used."""

_TOLD = 3
"""Norms beyond their limit that a reason names, the farthest ones."""

FEWEST = 3
"""With fewer clients nobody can say which of them is the odd one."""

Told = list[tuple[int, str]]
"""Node ids, and what is to be said of them."""


def hold(
    updates: Sequence[Update],
    scaling: float | None,
    ratio: float,
    correction: Correction | None = None,
) -> tuple[list[Update], Told, Told]:
    """Shrink the updates that are far larger than the others, or leave them out.

    Args:
        updates: of a round, each finite.
        scaling: s; None where what comes back makes no product.
        ratio: c; 0 for no limit.
        correction: the server half of the round's drift correction.

    Returns:
        Those to use, in their order; who is left out; and whose were shrunk.

    """
    if not ratio or len(updates) < FEWEST:
        return list(updates), [], []
    correction = correction or Correction()
    measured = _norms(updates, scaling, correction)
    names = {name: None for norms in measured for name in norms}
    limits = {
        name: _limit([norms[name] for norms in measured if name in norms], ratio)
        for name in names
    }
    kept, out, shrunk = [], [], []
    for update, norms in zip(updates, measured, strict=True):
        over = {name: norm / limits[name] for name, norm in norms.items()}
        beyond = sorted((n for n in over if over[n] > 1), key=lambda n: -over[n])
        why = "; ".join(
            f"its {name} has norm {norms[name]:.4g}, "
            f"{over[name] * ratio:.3g} times the median of the round"
            for name in beyond[:_TOLD]
        )
        more = f"; {len(beyond) - _TOLD} more" if len(beyond) > _TOLD else ""
        why += f"{more}; max-norm-ratio is {ratio:g}"
        if any(over[name] > FAR for name in beyond):
            out.append((update.node, why))
            continue
        if beyond:
            shrunk.append((update.node, why))
            update = _within(update, scaling, norms, limits, correction)
        kept.append(update)
    return kept, out, shrunk


def _norms(
    updates: Sequence[Update], scaling: float | None, correction: Correction
) -> list[dict[str, float]]:
    """Of all that a client can move; a large A can hide behind a small B."""
    products, tensors = change_norms(updates, scaling or 0.0)
    moved = tensors if scaling is None else products, tensors
    return [
        {
            "update": product,
            "change of the tensors": tensors,
            **correction.sizes(_brought(update, correction)),
            "second upload": shapes.norm(update.extra),
        }
        for update, product, tensors in zip(updates, *moved, strict=True)
    ]


def _brought(update: Update, correction: Correction) -> Mapping[str, Tensor]:
    """What is measured of a correction: its upload, or all that a client remembers."""
    if not correction.remembers or update.correction_lost or not update.correction:
        return update.correction
    received = update.received.adapter.factors
    return correction.brought(update.node, dict(update.correction), received)


def _within(
    update: Update,
    scaling: float | None,
    norms: Mapping[str, float],
    limits: Mapping[str, float],
    correction: Correction,
) -> Update:
    """Take the parts of an update that are within the limits."""
    came = update.adapter
    if norms["update"] > limits["update"]:
        update = shrink(update, scaling, limits["update"])
    most = limits["change of the tensors"]
    if update_norm(update, None) > most:
        update = shrink(update, None, most)
    parts = {
        name: limits[name] / norm if norm > limits[name] else 1.0
        for name, norm in norms.items()
    }
    refused = correction.remembers and (
        parts["correction"] < 1 or (correction.follows and update.adapter is not came)
    )
    extra = parts["second upload"]
    return replace(
        update,
        correction=correction.within(update.correction, parts),
        correction_refused=refused,
        extra={
            name: shapes.times(value, extra) for name, value in update.extra.items()
        },
    )


def shrink(update: Update, scaling: float | None, norm: float) -> Update:
    r"""Take a client's change in part, so that it has this norm.

    Factors and head move by a part t of their way, B_t = B_0 + t (B - B_0) and so on,
    with ||s (B_t A_t - B_0 A_0)||^2 + t^2 ||head - head_0||^2 = norm^2: a polynomial of
    degree four in t. B_0, A_0 are of the rank that the client returned: where it has
    pruned its own, what it gave up is not counted.

    Args:
        update: with a larger norm.
        scaling: s; None: the norm is that of all tensors, and t the ratio of norms.
        norm: above 0.

    """
    before = begun(update)
    a, b = before.named_tensors(), update.adapter.named_tensors()
    changes = {name: b[name].double() - a[name].double() for name in b}
    if scaling is None:
        t = norm / shapes.norm(changes)
    else:
        t = _part(update, before, changes, scaling, norm)
    moved = {name: (a[name].double() + t * changes[name]).float() for name in b}
    return replace(update, adapter=AdapterState.from_named_tensors(moved))


def _part(
    update: Update,
    before: AdapterState,
    changes: Mapping[str, Tensor],
    scaling: float,
    norm: float,
) -> float:
    """The largest t found by halving at which the norm is at most ``norm``."""
    head = shapes.norm({n: v for n, v in changes.items() if n.startswith("head.")}) ** 2
    first = cross = second = 0.0
    if update.adapter.factors.pairs:
        linear, square = {}, {}
        for name, (B, A) in update.adapter.factors.items():
            B0, A0 = (x.double() for x in before.factors[name])
            dB, dA = B.double() - B0, A.double() - A0
            linear[name] = (torch.cat([dB, B0], dim=1), torch.cat([A0, dA]))
            square[name] = (dB, dA)
        M = scaling**2 * inner_products([LoraFactors(linear), LoraFactors(square)])
        first, cross, second = float(M[0, 0]), float(M[0, 1]), float(M[1, 1])
    low, high = -745.0, 0.0  # of log t: down to the smallest float
    for _ in range(100):
        middle = (low + high) / 2
        t = math.exp(middle)
        squared = t**2 * (first + head) + 2 * t**3 * cross + t**4 * second
        if squared <= norm**2:
            low = middle
        else:
            high = middle
    return math.exp(low)


def _limit(norms: Sequence[float], ratio: float) -> float:
    """Ratio times the median.

    Where most change nothing, times the median of the others, of whom the smaller one
    counts where they are two; who alone changes something has nobody to be held
    against.
    """
    moved = sorted(norm for norm in norms if norm)
    if not moved:
        return math.inf
    others = statistics.median(moved) if len(moved) >= FEWEST else moved[0]
    return ratio * (statistics.median(norms) or others)
