"""Sums over nodes as a method's update, as measures, and as the shape they come in."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ilora_app import wire
from ilora_app.federation.secure_session import SecureSession
from ilora_app.lora.factors import AdapterState, LoraFactors, only
from ilora_app.methods import Method, tangent
from ilora_app.methods.state import (
    DENSE,
    MEANS,
    SKETCH,
    TANGENT,
    GlobalState,
    Plan,
    Update,
)
from ilora_app.methods.sums import (
    Sketch,
    cleaned,
    dense,
    joined,
    leading_basis_of,
    one_update,
)

Shapes = dict[str, tuple[int, ...]]
Sums = Mapping[str, Tensor]

_UP, _PRODUCT, _CONTROL, EVALUATION = "up/", "product/", "control/", "evaluation"
MEASURES: Shapes = {EVALUATION: (9,)}


def shapes(
    state: GlobalState, plan: Plan, sketch: Sketch, control: Sums, evaluates: bool
) -> Shapes:
    """What the first pass of a round sums, by name.

    Args:
        state: that nodes train from.
        plan: of the round.
        sketch: which products are summed.
        control: what a drift correction sends, at r_max.
        evaluates: nodes have measured the model that they were sent.

    """
    found: Shapes = dict.fromkeys(("examples", "loss", "seconds"), (1,))
    found["held"] = (sketch.rank,)
    groups = plan.up if sketch.sums.kind == MEANS else ("head",)
    sent = only(state.adapter.named_tensors(), plan.up)
    found |= {_UP + n: tuple(v.shape) for n, v in only(sent, groups).items()}
    if sketch.sums.kind != MEANS:
        found |= products(state, sketch, 0)
    returned = only(control, plan.up)
    found |= {_CONTROL + n: tuple(v.shape) for n, v in returned.items()}
    return found | (MEASURES if evaluates else {})


def products(state: GlobalState, sketch: Sketch, number: int) -> Shapes:
    """What a pass of products sums, by name."""
    if sketch.sums.kind == TANGENT:
        like = tangent.shapes(state.adapter.factors) if number else {}
        return {_PRODUCT + name: shape for name, shape in like.items()}
    found: Shapes = {}
    for module, (B, A) in state.adapter.factors.items():
        outer, inner = B.shape[0], A.shape[1]
        whole = sketch.sums.kind == DENSE
        width = inner if whole else sketch.width((outer, inner))
        left = sketch.is_left(number)
        found[_PRODUCT + module] = (width, inner) if left else (outer, width)
    return found


def size(like: Shapes) -> int:
    """How many numbers there are."""
    return sum(math.prod(shape) for shape in like.values())


def update_of(
    method: Method,
    state: GlobalState,
    sketch: Sketch,
    session: SecureSession,
    sums: Sums,
    facts: Mapping[str, Any],
    behind: bool = False,
) -> Update:
    """Make one update of the sums of a round, and ask for what else it takes.

    Args:
        method: that is run.
        state: that nodes trained from.
        sketch: which products are summed.
        session: asks for the later passes.
        sums: of the first.
        facts: of the sketch, for nodes.
        behind: of Q^T D there are the columns behind those of D E alone.

    Raises:
        SecureError: a later pass cannot be opened.
        WireError: the sums make no sense.

    """
    examples = float(sums["examples"])
    if not examples >= len(session.peers) - 0.5:
        raise wire.WireError(f"the sums count {examples:g} examples")
    mean = {n: v / examples for n, v in sums.items()}
    flat = {n: v.float() for n, v in _within(_UP, mean).items()}
    head = AdapterState.from_named_tensors(only(flat, ("head",))).head
    head = {**state.adapter.head, **head}
    if sketch.sums.kind == MEANS:
        whole = {**state.adapter.named_tensors(), **flat}
        factors = AdapterState.from_named_tensors(whole).factors
        return one_update(state, head, factors, False, examples)
    error = session.error / examples
    Y = _within(_PRODUCT, mean)

    def later(number: int, by: Mapping[str, Tensor]) -> dict[str, Tensor]:
        like = products(state, sketch, number)
        record = wire.encode_tensors(by, torch.float64)
        found = session.multiplied(number, record, facts, size(like))
        total = _within(_PRODUCT, wire.unflatten(found, like))
        return {module: value / examples for module, value in total.items()}

    if sketch.sums.kind == DENSE:
        factors = dense(Y)
    elif sketch.sums.kind == TANGENT:
        directions = tangent.directions_of(state.adapter.factors)
        found = later(1, tangent.named(directions))
        factors = tangent.joined(found, directions)
    elif sketch.sums.kind == SKETCH:
        for number in range(1, sketch.passes):
            Q = sketch.basis(number, Y, error)
            Y = later(number, Q)
        # Q is the basis of the last pass.
        factors = LoraFactors({m: (Q[m], Y[m]) for m in Y})
    else:
        Y = cleaned(Y, error)
        Q = leading_basis_of(method, state, head, Y)
        Q = {m: v.double() for m, v in Q.items()}
        R = later(1, Q)
        if behind:
            for module, first in Y.items():
                R[module][:, : first.shape[1]] = Q[module].T @ first
        factors = joined(Y, Q, R)
    return one_update(state, head, factors, True, examples)


def control_of(sums: Sums, unit: float) -> dict[str, Tensor]:
    """Sum of the changes of the nodes' control variates, by their unit."""
    return {name: v / unit for name, v in _within(_CONTROL, sums).items()}


def of_training(sums: Sums, clients: int) -> dict[str, int | float]:
    """Columns of a round of training: what can be told of sums."""
    return {
        "clients": clients,
        "train_loss": float(sums["loss"] / sums["examples"]),
        "seconds_client_mean": float(sums["seconds"]) / clients,
    }


def of_evaluation(sums: Sums) -> dict[str, int | float]:
    """Columns of what nodes measured; a worst node cannot be told from a sum."""
    there, m, right, accuracy, squared, loss, own, on_test, test_loss = sums[
        EVALUATION
    ].tolist()
    found: dict[str, int | float] = {}
    if round(there) and m:
        mean = accuracy / there
        found = {
            "clients_evaluated": round(there),
            "client_accuracy_mean": mean,
            "client_accuracy_spread": max(squared / there - mean**2, 0.0) ** 0.5,
            "client_loss_mean": loss / there,
            "held_out_accuracy": right / m,
        }
    if round(own):
        found |= {"accuracy": on_test / own, "loss": test_loss / own}
    return found


def _within(prefix: str, tensors: Sums) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
