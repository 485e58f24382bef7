"""From checked updates to the next global model, or why there is none."""

from collections.abc import Callable
from dataclasses import replace

import torch
from flwr.app import ArrayRecord

from ilora_app import wire
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.limits import Limits
from ilora_app.lora.factors import AdapterState
from ilora_app.methods import Method
from ilora_app.methods.state import Aggregate, Update


class UnusableError(Exception):
    """A round whose replies make no model, with the reason."""


def aggregate(
    method: Method,
    limits: Limits,
    model: GlobalModel,
    updates: list[Update],
    correct: Callable[[AdapterState], AdapterState],
) -> tuple[Aggregate, ArrayRecord]:
    """Aggregate, and encode the global model that comes out.

    Args:
        method: that is run.
        limits: say how many updates are enough.
        model: that clients trained from.
        updates: checked, in the order of members.
        correct: the drift correction's step from what the method made.

    Raises:
        UnusableError: too few replies to aggregate, or no finite result.

    """
    too_few = limits.enough(updates)
    if too_few:
        raise UnusableError(too_few)
    try:
        found = model.keep_frozen_head(method.advance(model.state, updates))
        if _is_finite(found.state.adapter):
            found = _with(found, correct(found.state.adapter))
            found = model.keep_frozen_head(found)
        flat = method.model(found.state).named_tensors()
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        text = f"the aggregate cannot be computed ({error})"
        raise UnusableError(text) from error
    if not all(bool(tensor.isfinite().all()) for tensor in flat.values()):
        raise UnusableError("the aggregate is not finite")
    return found, wire.model_record(flat)


def _with(made: Aggregate, adapter: AdapterState) -> Aggregate:
    return replace(made, state=replace(made.state, adapter=adapter))


def _is_finite(adapter: AdapterState) -> bool:
    values = adapter.named_tensors().values()
    return all(bool(value.isfinite().all()) for value in values)
