"""Limits on what a reply may be: they bound what one client can do to the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import inner_products
from ilora_app.strategies.state import Update


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Attributes:
        max_update_norm: of an update; a reply with a larger one is left out, and not
            scaled down: a client that is right does not come near a sensible limit, and
            of one that is not nothing should be used. 0 for no limit.
        max_examples: a client counts for no more. It is not left out: it may well hold
            so many, and its weight is all that a false count changes. 0 for no limit.
        min_replies: with fewer usable ones the model stays as it was.

    """

    max_update_norm: float = 0.0
    max_examples: int = 0
    min_replies: int = 1

    def examples(self, count: float) -> float:
        """What a client's examples count for."""
        return min(count, self.max_examples) if self.max_examples else count

    def check(self, update: Update, scaling: float | None) -> None:
        """Hold the norm of an update against the limit.

        Raises:
            WireError: it is larger.

        """
        if not self.max_update_norm:
            return
        norm = update_norm(update, scaling)
        if not norm <= self.max_update_norm:
            raise wire.WireError(
                f"its update has norm {norm:.4g}, max-update-norm is "
                f"{self.max_update_norm:g}"
            )

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
    before, after = update.received.adapter, update.adapter
    if scaling is None:
        return math.sqrt(_squared(before.named_tensors(), after.named_tensors()))
    squared = _squared(before.head, after.head)
    if after.factors.pairs:
        M = inner_products([after.factors, before.factors])
        product = float(M[0, 0] - 2 * M[0, 1] + M[1, 1])
        squared += scaling**2 * max(product, 0.0)
    return math.sqrt(squared)


def _squared(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """Sum of the squared differences, tensor by tensor."""
    return sum(
        float((after[name].double() - value.double()).square().sum())
        for name, value in before.items()
    )
