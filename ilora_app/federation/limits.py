"""Limits on what a reply may be: they bound what one client can do to the model."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import shapes
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.spread import squared_changes
from ilora_app.methods.increments import received
from ilora_app.methods.state import Update


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Attributes:
        max_update_norm: of an update; a reply with a larger one is left out, and not
            scaled down: a client that is right does not come near a sensible limit, and
            of one that is not nothing should be used. 0 for no limit.
        max_correction_norm: likewise of the change of a control variate. 0 for no
            limit.
        max_examples: a client counts for no more. It is not left out: it may well hold
            so many, and its weight is all that a false count changes. 0 for no limit.
        min_replies: with fewer usable ones the model stays as it was.
        max_reply_megabytes: of a reply: see ``reply_size``. 0 for the usual limit.
        max_norm_ratio: of what a client changed to the median of the round; a larger
            one is shrunk: see ``outliers``. 0 for no limit.
        max_examples_ratio: of the examples that a client counts for to the median over
            all. 0 for no limit.
        robust, robust_fraction: the rule against what is within the limits, and the
            part of the clients that may be hostile: see ``robust``.

    """

    max_update_norm: float = 0.0
    max_correction_norm: float = 0.0
    max_examples: int = 0
    min_replies: int = 1
    max_reply_megabytes: float = 0.0
    max_norm_ratio: float = 0.0
    max_examples_ratio: float = 0.0
    robust: str = "none"
    robust_fraction: float = 0.25

    def examples(self, count: float) -> float:
        """What a client's examples count for."""
        return min(count, self.max_examples) if self.max_examples else count

    def beside(self, others: Sequence[float]) -> "Limits":
        """The limits with one on examples that follows from what all have.

        Args:
            others: examples of all members.

        """
        if not self.max_examples_ratio or not others:
            return self
        most = int(self.max_examples_ratio * statistics.median(others)) or 1
        given = self.max_examples or most
        return replace(self, max_examples=min(given, most))

    def check(self, update: Update, scaling: float | None) -> None:
        """Hold the norms of what came back against the limits.

        Raises:
            WireError: one is larger.

        """
        if self.max_update_norm:
            norm = update_norm(update, scaling)
            _at_most(norm, "update", "max-update-norm", self.max_update_norm)
        if self.max_correction_norm:
            norm = shapes.norm(update.correction)
            name = "change of its control variate"
            _at_most(norm, name, "max-correction-norm", self.max_correction_norm)

    def enough(self, updates: Sequence[Update]) -> str:
        """Say why there are too few usable replies, or nothing."""
        if not updates:
            return "no usable reply"
        if len(updates) < self.min_replies:
            return f"usable replies: {len(updates)}, min-replies is {self.min_replies}"
        return ""


def update_norm(update: Update, scaling: float | None) -> float:
    r"""Frobenius norm of what a client changed: factors and head together.

    sqrt(||s (B_k A_k - P_k)||^2 + ||head_k - head||^2) over all layers, with P_k the
    product that it received, from Gram matrices of the factors.

    Args:
        update: of the client.
        scaling: s; None where not all that is trained comes back, so that there is no
            product: then the norm is that of the change of every tensor returned.

    """
    return update_norms([update], scaling)[0]


def update_norms(updates: Sequence[Update], scaling: float | None) -> list[float]:
    """:func:`update_norm` of several."""
    products, tensors = change_norms(updates, scaling or 0.0)
    return tensors if scaling is None else products


def change_norms(
    updates: Sequence[Update], scaling: float
) -> tuple[list[float], list[float]]:
    """:func:`update_norm` of several with products, and without, in one pass."""
    parts = [update.adapter.factors for update in updates]
    products, tensors = squared_changes(parts, *received(updates))
    heads = torch.tensor(
        [_squared(u.received.adapter.head, u.adapter.head) for u in updates],
        dtype=torch.float64,
    )
    norms = (scaling**2 * products + heads).sqrt(), (tensors + heads).sqrt()
    return norms[0].tolist(), norms[1].tolist()


def begun(update: Update) -> AdapterState:
    """What a client began from, in the shapes that it returned: it may have pruned."""
    received, returned = update.received.adapter, update.adapter
    rank = returned.factors.rank
    if rank and received.factors.rank > rank:
        received = received.cut(rank)
    elif rank > received.factors.rank:
        received = received.pad(rank)
    held = received.named_tensors()
    return AdapterState.from_named_tensors(
        {
            name: held.get(name, torch.zeros_like(value))
            for name, value in returned.named_tensors().items()
        }
    )


def _squared(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Sum of the squared differences, tensor by tensor; what is not there is 0."""
    norms = [
        torch.linalg.vector_norm(
            value - before[name] if name in before else value, dtype=torch.float64
        )
        for name, value in after.items()
    ]
    return sum(float(norm) ** 2 for norm in norms)


def _at_most(norm: float, what: str, key: str, limit: float) -> None:
    if not norm <= limit:
        raise wire.WireError(f"its {what} has norm {norm:.4g}, {key} is {limit:g}")
