"""Corrections under unequal ranks, factors that take turns, and dropout."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app.corrections import client_half, server_half
from ilora_app.corrections.passes import draws_again
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.node.client_state import ClientState
from ilora_app.settings import MethodSettings
from tests.oracles import TABLE
from tests.quadratic import HEAD, SCALING, Problem
from tests.toy import Toy

pytestmark = pytest.mark.slow

MODULE = "encoder.query"


def toy(strategy: str, correction: str, problem: Problem, **keys: float) -> Toy:
    (row,) = [row for row in TABLE if str(row) == strategy]
    if not correction:
        return Toy(row.make(), problem)
    method = type(row.make().method)
    chosen = MethodSettings(drift_correction=correction, **keys)
    scope = "all" if "all" in method.control_scopes else "head"
    half = server_half(chosen, scope, method.turns_basis(), method.projects)
    return Toy(row.make(drift_correction=half), problem, chosen)


@pytest.mark.parametrize("strategy", ["fedit", "ffa-lora", "fedsa-lora", "rolora"])
def test_fedglomo_leaves_what_nobody_changes_as_the_method_has_it(strategy):
    """A - A' is 0 then: both are what padding with zeros takes."""
    ends = []
    for correction in ("", "fedglomo"):
        problem = Problem((1, 2, 2), (10, 10, 20), rate=1e-12)
        federation = toy(strategy, correction, problem)
        found = []
        for _ in range(7):
            federation.round()
            found.append(federation.state.adapter.factors[MODULE])
        ends.append(found)
    for plain, corrected in zip(*ends, strict=True):
        torch.testing.assert_close(plain, corrected, rtol=1e-4, atol=1e-6)


def test_a_pass_draws_its_dropout_again():
    rows = torch.ones(1000)
    again = draws_again([])
    first, second = (torch.nn.functional.dropout(rows, 0.5) for _ in range(2))
    assert not torch.equal(first, second)
    again()
    assert torch.equal(torch.nn.functional.dropout(rows, 0.5), first)


@pytest.mark.parametrize("name", ["fedglomo", "fedsmoo"])
def test_two_passes_of_a_step_have_one_mask(name):
    """Of a gradient that is the mask: v_j = v_{j-1} + 0, and what is at theta + e."""
    start = AdapterState(LoraFactors({}), {"w": torch.ones(64)})
    facts = {"drift-correction": name, "fedsmoo-rho": 1e-6, "fedsmoo-lambda": 0.0}
    memory = ClientState(RecordDict())
    half = client_half(MethodSettings(), facts, {}, start, ["head.w"], memory, 1, 0)
    own, masks = torch.ones(64).requires_grad_(), []

    def backward() -> torch.Tensor:
        mask = torch.nn.functional.dropout(torch.ones(64), 0.5)
        masks.append(mask)
        (own * mask).sum().backward()
        return own.sum()

    run = half.gradient({"head.w": own})
    for _ in range(20):
        own.grad = None
        run(backward)
    expected = {"fedglomo": masks[0], "fedsmoo": masks[-1]}
    torch.testing.assert_close(own.grad, expected[name])
    assert torch.equal(masks[-1], masks[-2])
    assert not torch.equal(masks[-1], masks[-3])


def test_fedsmoo_moves_a_factor_in_its_turn_alone_and_remembers_the_other():
    federation = toy(
        "rolora", "fedsmoo", Problem((2, 2), (10, 10), rate=0.02), fedsmoo_rho=0.1
    )
    half = federation.strategy.drift_correction
    for number in range(1, 7):
        before = federation.state.adapter.factors
        federation.round()
        after = federation.state.adapter.factors
        trains = (number - 1) % 2  # B first
        for module in after.pairs:
            moved = [not torch.equal(a, b) for a, b in zip(
                after[module], before[module], strict=True)]  # fmt: skip
            assert moved == [trains == 0, trains == 1], (number, module)
        if number > 1:
            shift = half.broadcast([], after).named_tensors()
            assert all(v.any() for n, v in shift.items() if n.startswith(MODULE))
            for context in federation.grid._contexts.values():
                kept = ClientState(context.state).tensors("fedsmoo-mu")
                assert {f"{MODULE}.lora_A", f"{MODULE}.lora_B"} <= kept.keys()


def test_what_stays_with_a_client_gets_one_gradient_of_two_passes():
    B, A, M = torch.randn(3, 2), torch.randn(2, 4), torch.randn(3, 4)
    facts = {"drift-correction": "fedsmoo", "fedsmoo-rho": 1e-5, "fedsmoo-lambda": 0.0}
    start = AdapterState(LoraFactors({"m": (B, A)}), {})
    memory = ClientState(RecordDict())
    half = client_half(MethodSettings(), facts, {}, start, ["m.lora_A"], memory, 1, 0)
    p = {n: v.clone().requires_grad_() for n, v in start.named_tensors().items()}

    def backward() -> torch.Tensor:
        loss = 0.5 * (p["m.lora_B"] @ p["m.lora_A"] - M).square().sum()
        loss.backward()
        return loss

    half.gradient(p)(backward)
    rest = (B @ A - M, A)
    torch.testing.assert_close(
        p["m.lora_B"].grad, rest[0] @ rest[1].T, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("away", [(1, 2), (2,), (2, 3)])
def test_directions_of_a_client_that_comes_late_are_trained_under_rolora(away):
    federation = toy("rolora", "", Problem((1, 4), (10, 10), rate=0.03))
    for number in range(1, 13):
        federation.round(**({"n2": "absent"} if number in away else {}))
    B, A = federation.state.adapter.factors[MODULE]
    assert (B.norm(dim=0) > 0.01).all()
    assert (A.norm(dim=1) > 0.01).all()


@pytest.mark.parametrize("strategy", ["flora", "fedgalore", "rolora"])
def test_fedlada_steps_as_adamw_where_there_is_no_direction(strategy):
    ways = []
    for alpha in (1.0, 0.1):
        problem = Problem((2, 2), (10, 10), rate=0.003)
        federation = toy(strategy, "fedlada", problem, fedlada_alpha=alpha)
        for _ in range(2):  # in the second round the head alone has one
            federation.round()
        one = federation.history[-1][0]
        before, after = (s.factors[MODULE] for s in (one.start, one.trained))
        ways.append(
            sum(float((a - b).norm()) for a, b in zip(after, before, strict=True))
        )
    assert ways[1] == pytest.approx(ways[0], rel=0.1)


def test_steps_are_counted_of_each_tensor_by_itself():
    federation = toy("rolora", "fedadamw", Problem((2, 2), (10, 10), rate=0.003))
    half, problem = federation.strategy.drift_correction, federation.problem
    for _ in range(3):
        federation.round()
    names = sorted(federation.state.adapter.named_tensors())
    counts = dict(zip(names, half.facts()["steps"], strict=True))
    assert counts[f"{MODULE}.lora_B"] == 2 * problem.steps
    assert counts[f"{MODULE}.lora_A"] == problem.steps
    assert counts["head.classifier.weight"] == 3 * problem.steps


def loss(federation: Toy) -> float:
    """Of the model that all share, on the clients' data together."""
    targets, head = federation.problem.pooled()
    model = federation.model()
    total = 0.5 * float((model[HEAD] - head).square().sum())
    for module, W0 in federation.problem.W0.items():
        left = W0 + SCALING * model[module] - targets[module]
        total += 0.5 * float(left.square().sum())
    return total


@pytest.mark.parametrize("strategy", ["ilora-default", "flexlora", "raflora", "fedit"])
def test_a_direction_follows_factors_that_grow(strategy):
    """B = U S of the next round is larger: taken for a basis it would be multiplied."""
    problem = Problem((1, 2, 4, 3), (10, 70, 20, 40), rate=0.01)
    federation = toy(strategy, "fedadamw", problem, fedadamw_gamma=1.0)
    losses = []
    for _ in range(12):
        federation.round()
        losses.append(loss(federation))
    assert max(losses) < 1.5 * losses[0]
    assert losses[-1] < 0.8 * losses[0]
