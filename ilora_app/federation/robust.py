r"""Aggregation that a minority of hostile clients cannot turn: ``robust``.

A rule stands before every strategy's own aggregation and changes what goes into it:

- ``clip``: what is larger than the median of the round is shrunk to it, norm by norm as
  ``outliers`` measures them; not a correction that clients remember.
- ``krum`` (Blanchard et al., NeurIPS 2017, multi-Krum): with f hostile clients expected
  of n, the n - f updates are used whose n - f - 2 nearest others are nearest.
- ``geometric-median`` (Pillutla et al., RFA, 2022): the weights w_k for which
  sum_k w_k Delta_k has the least sum of distances to the Delta_k.
- ``median``, ``trimmed-mean`` (Yin et al., ICML 2018): every number of a factor or of
  the head changes by the median, or by the mean without the f largest and the f
  smallest, of how those clients changed it that hold it.

Delta_k is s (B_k A_k - P_k) with P_k the product that client k received, beside the
change of its head: products of unequal ranks, whose distances follow from Gram matrices
of the factors. Counts of examples weigh nothing where a rule chooses, as they may be
false.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ilora_app.corrections import Correction
from ilora_app.federation.limits import begun
from ilora_app.federation.outliers import FEWEST, hold
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.spread import inner_products
from ilora_app.methods.state import Update
from ilora_app.settings.limits import COORDINATES

_STEPS, _CLOSE, _FAR = 200, 1e-9, 1e6


@dataclass(frozen=True)
class Chosen:
    """What a rule makes of a round.

    Attributes:
        updates: to aggregate, in their order.
        passed_over: nodes whose replies were right, and are not used.

    """

    updates: list[Update]
    passed_over: list[int]


def choose(
    updates: Sequence[Update],
    rule: str,
    fraction: float,
    scaling: float | None,
    correction: Correction | None = None,
) -> Chosen:
    """Apply a rule to the updates of a round.

    Args:
        updates: checked.
        rule: ``none``, or one of the above.
        fraction: f / n, the part of the clients that may be hostile.
        scaling: s; None where what comes back makes no product.
        correction: the server half of the round's drift correction.

    """
    if rule == "none" or len(updates) < FEWEST:
        return Chosen(list(updates), [])
    if rule == "clip":
        # Half of the clients would always be refused theirs: max-norm-ratio bounds it.
        own = correction is not None and correction.remembers
        bare = [replace(u, correction={}) for u in updates] if own else updates
        kept, out, _ = hold(bare, scaling, 1.0, None if own else correction)
        if own:
            came = {update.node: update.correction for update in updates}
            kept = [replace(update, correction=came[update.node]) for update in kept]
        return Chosen(kept, [node for node, _ in out])
    if rule in COORDINATES:
        return Chosen(by_coordinates(updates, rule, fraction), [])
    D = distances(updates, scaling)
    if rule == "krum":
        near = krum(D, fraction)
        left = [u.node for k, u in enumerate(updates) if k not in near]
        return Chosen([updates[k] for k in near], left)
    total = sum(update.examples for update in updates)
    weighed = zip(updates, geometric_median(D), strict=True)
    return Chosen([replace(u, examples=w * total) for u, w in weighed], [])


def distances(updates: Sequence[Update], scaling: float | None) -> Tensor:
    """||Delta_i - Delta_j||, shape (K, K), in float64.

    Without a scaling they are those of the changes of all tensors.
    """
    rank = max(_rank(update) for update in updates)
    flat, moved = [], []
    for update in updates:
        after, before = update.adapter, update.received.adapter
        if scaling is None:
            held = after.pad(rank).named_tensors()
            old = begun(update).pad(rank).named_tensors()
        else:
            moved.append(_moved(after.factors, before.factors, scaling))
            held, old = dict(after.head), dict(before.head)
        flat.append(
            {n: v.double() - old[n].double() for n, v in held.items() if n in old}
        )
    G = torch.zeros(len(updates), len(updates), dtype=torch.float64)
    for name in flat[0]:
        rows = torch.stack([changes[name].flatten() for changes in flat])
        G += rows @ rows.T
    if moved and moved[0].pairs:
        G += inner_products(moved)
    squared: Tensor = G.diagonal()[:, None] + G.diagonal()[None, :] - 2 * G
    return squared.clamp(min=0).sqrt()


def krum(D: Tensor, fraction: float) -> list[int]:
    """Indices of the n - f updates with the nearest neighbours, in their order.

    Args:
        D: distances, shape (n, n).
        fraction: f / n; f is at most (n - 3) / 2, beyond which Krum promises nothing.

    """
    n = len(D)
    f = min(_count(fraction, n), (n - 3) // 2)
    nearest = D.square().sort(dim=1).values[:, 1 : n - f - 1]  # without itself
    order = nearest.sum(dim=1).argsort(stable=True)
    return sorted(order[: n - f].tolist())


def geometric_median(D: Tensor) -> list[float]:
    """Weights of the geometric median of points whose distances are known.

    From equal w: d_k = ||sum_j w_j x_j - x_k||, then w_k in proportion to 1 / d_k.
    d_k^2 = sum_j w_j D_jk^2 - (1/2) sum_ij w_i w_j D_ij^2, as the weights sum to one.
    A point too far from most others for these sums to tell d_k has none.

    Args:
        D: distances, shape (n, n).

    """
    squared, apart = D.square(), D.median(dim=1).values
    near = apart <= _FAR * apart.median()
    w = near.double() / near.sum()
    least = _CLOSE * float(D.median()) or _CLOSE
    for _ in range(_STEPS):
        d = (squared @ w - 0.5 * (w @ squared @ w)).clamp(min=0).sqrt()
        inverse = near / d.clamp(min=least)
        w, last = inverse / inverse.sum(), w
        if bool(((w - last).abs() <= _CLOSE * last).all()):
            break
    return [float(value) for value in w]


def by_coordinates(
    updates: Sequence[Update], rule: str, fraction: float
) -> list[Update]:
    """Have every number change by the median or the trimmed mean of its changes.

    Clients receive nested parts of the same factors, so direction i is the same one for
    all that hold it, those of rank i or more; each update is given the changes of the
    directions that it holds.

    Args:
        updates: of a round.
        rule: ``median`` or ``trimmed-mean``.
        fraction: f / n of the trimmed mean.

    """
    ranks = sorted({_rank(update) for update in updates})
    how = _median if rule == "median" else partial(_trimmed, fraction=fraction)
    before = [begun(update) for update in updates]
    changes = [_changes(u.adapter, b) for u, b in zip(updates, before, strict=True)]
    pieces, start = [], 0
    for end in ranks:
        held = [k for k, u in enumerate(updates) if _rank(u) >= end]
        parts = [_directions(changes[k], start, end) for k in held]
        pieces.append({n: _over(parts, n, how) for n in parts[0].named_tensors()})
        start = end
    heads = [AdapterState(LoraFactors({}), change.head) for change in changes]
    head = {n: _over(heads, n, how) for n in heads[0].named_tensors()}
    found = []
    for update, old in zip(updates, before, strict=True):
        own = [p for p, end in zip(pieces, ranks, strict=True) if end <= _rank(update)]
        moved = {}
        for name, value in old.named_tensors().items():
            if name in head:
                change = head[name]
            else:
                side = 1 if name.endswith(".lora_B") else 0
                change = torch.cat([piece[name] for piece in own], dim=side)
            moved[name] = (value.double() + change).to(value.dtype)
        found.append(replace(update, adapter=AdapterState.from_named_tensors(moved)))
    return found


def _rank(update: Update) -> int:
    return update.adapter.factors.rank


def _count(fraction: float, n: int) -> int:
    """f, whole clients."""
    return int(fraction * n + 1e-9)


def _moved(after: LoraFactors, before: LoraFactors, scaling: float) -> LoraFactors:
    """s (B A - P) as factors ([s B, -s B_0], [A; A_0])."""
    pairs = {}
    for module, (B, A) in after.items():
        B0, A0 = before[module]
        left = scaling * torch.cat([B.double(), -B0.double()], dim=1)
        pairs[module] = (left, torch.cat([A.double(), A0.double()]))
    return LoraFactors(pairs)


def _changes(after: AdapterState, before: AdapterState) -> AdapterState:
    old = before.named_tensors()
    return AdapterState.from_named_tensors(
        {n: v.double() - old[n].double() for n, v in after.named_tensors().items()}
    )


def _directions(change: AdapterState, start: int, end: int) -> AdapterState:
    """Of the factors, the directions after ``start`` up to ``end``."""
    pairs = {m: (B[:, start:end], A[start:end]) for m, (B, A) in change.factors.items()}
    return AdapterState(LoraFactors(pairs), {})


def _over(
    parts: Sequence[AdapterState], name: str, how: Callable[[Tensor], Tensor]
) -> Tensor:
    return how(torch.stack([part.named_tensors()[name] for part in parts]))


def _median(values: Tensor) -> Tensor:
    """Over dim 0; the mean of the two in the middle where their number is even."""
    sorted_, n = values.sort(dim=0).values, len(values)
    return (sorted_[(n - 1) // 2] + sorted_[n // 2]) / 2


def _trimmed(values: Tensor, fraction: float) -> Tensor:
    """Mean over dim 0 without the f largest and the f smallest."""
    n = len(values)
    f = min(_count(fraction, n), (n - 1) // 2)
    return values.sort(dim=0).values[f : n - f].mean(dim=0)
