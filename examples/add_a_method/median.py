"""Coordinate-wise median of the factors: one client cannot move it far."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors, mean_head
from ilora_app.methods import Method
from ilora_app.methods.state import Aggregate, GlobalState, Update, weights_of
from ilora_app.settings import MethodSettings, Settings
from ilora_app.settings.options import below_one, option


@dataclass(frozen=True)
class MedianSettings(MethodSettings):
    """The keys of every method, and one of this."""

    median_momentum: float = option(
        0.0, "Part of the step before that is taken again.", check=below_one
    )


class Median(Method):
    """B and A move to the medians, entry by entry, over the clients that hold them.

    A client of rank r_k holds the first r_k columns of B and rows of A. Numbers of
    examples do not count: whoever could raise its own would decide. Not exact: the
    product of medians is not the median of the products. With a momentum beta the step
    is V <- beta V + (median - B), and B <- B + V; A likewise.

    Args:
        momentum: beta.

    """

    settings = MedianSettings

    def __init__(self, *, momentum: float = 0.0) -> None:
        self.momentum = momentum

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Read the momentum."""
        assert isinstance(settings.method, MedianSettings)
        return {"momentum": settings.method.median_momentum}

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Take the medians of A and B; mean of the head."""
        before = state.adapter.named_tensors()
        flat = [update.adapter.named_tensors() for update in updates]
        factors, steps = {}, {}
        for name, old in before.items():
            if not name.startswith("head."):
                step = median(old, [client[name] for client in flat]) - old
                if name in state.buffers:
                    step = step + self.momentum * state.buffers[name]
                factors[name], steps[name] = old + step, step
        pairs = AdapterState.from_named_tensors(factors).factors.pairs
        head = mean_head([u.adapter.head for u in updates], weights_of(updates))
        adapter = AdapterState(LoraFactors(pairs), head)
        return Aggregate(state.next(adapter, buffers=steps))


def median(old: Tensor, held: list[Tensor]) -> Tensor:
    """Median of each entry over the clients that hold it; else it stays as it was.

    Args:
        old: B of shape (d_out, r_max), or A of shape (r_max, d_in).
        held: the same of clients, shapes (d_out, r_k) or (r_k, d_in).

    """
    found = old.clone()
    for shape in sorted({tensor.shape for tensor in held}, reverse=True):
        rows, columns = shape
        there = [t[:rows, :columns] for t in held if t.shape >= shape]
        found[:rows, :columns] = torch.stack(there).median(0).values
    return found
