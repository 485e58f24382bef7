"""FedProx and FedZMG: what they do to the loss and to the gradient of a client."""

import pytest
import torch
from torch.optim import SGD, AdamW

from ilora_app.corrections import client_half, server_half
from ilora_app.corrections.fedprox import FedProxClient
from ilora_app.corrections.fedzmg import ZeroMeanGradient
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import MethodSettings
from tests.oracles import TABLE, Row
from tests.quadratic import HEAD, Problem
from tests.toy import Toy

MU, RATE = 0.7, 0.1
NOTHING = AdapterState(LoraFactors({}), {})
DRIFTING = [r for r in TABLE if r.name not in ("centralized", "local")]


def loss(theta: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return 0.5 * (theta - target).square().sum()


def client(name: str, **settings):
    chosen = MethodSettings(drift_correction=name, **settings)
    server = server_half(chosen)
    facts = server.facts() if server else {}
    return client_half(MethodSettings(), facts, None, NOTHING, [], None, 1, 0)


def two_steps(correction, start, target, optimizer=SGD, **settings):
    """Train one matrix for two steps under a correction."""
    theta = start.clone().requires_grad_()
    stepper = optimizer([theta], lr=RATE, **settings)
    hook, term = correction.hook({"w": theta}), correction.penalty({"w": theta})
    if hook:
        hook.attach(stepper)
    for _ in range(2):
        stepper.zero_grad()
        (loss(theta, target) + (term() if term else 0.0)).backward()
        stepper.step()
    return theta.detach()


def test_two_clients_and_two_steps_of_fedprox_by_hand():
    """theta_1 = theta_0 - eta g_0, as the term is flat there; then it pulls back."""
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    for target in (torch.tensor([[3.0, 1.0]]), torch.tensor([[-1.0, 4.0]])):
        first = start - RATE * (start - target)
        second = first - RATE * ((first - target) + MU * (first - start))
        found = two_steps(client("fedprox", proximal_mu=MU), start, target.double())
        torch.testing.assert_close(found, second)


def test_the_gradient_of_the_proximal_term_is_that_of_its_formula():
    theta = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    term = FedProxClient(MU).penalty({"w": theta})
    received = theta.detach().clone()
    with torch.no_grad():
        theta += 1.0
    term().backward()
    torch.testing.assert_close(theta.grad, MU * (theta.detach() - received))
    with torch.no_grad():
        theta += torch.randn_like(theta)
    assert torch.autograd.gradcheck(lambda _: term(), (theta,))


def test_two_clients_and_two_steps_of_fedzmg_by_hand():
    start = torch.tensor([[1.0, -2.0, 4.0]], dtype=torch.float64)
    for target in (torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[-1.0, 4.0, 2.0]])):
        theta = start
        for _ in range(2):
            g = theta - target
            theta = theta - RATE * (g - g.mean())
        found = two_steps(client("fedzmg"), start, target.double())
        torch.testing.assert_close(found, theta)
        torch.testing.assert_close(found.mean(), start.mean())


def test_a_tensor_of_one_entry_moves_under_fedzmg():
    bias = torch.ones(1, requires_grad=True)
    stepper = SGD([bias], lr=RATE)
    ZeroMeanGradient({"b": bias}).attach(stepper)
    bias.sum().backward()
    stepper.step()
    assert float(bias) == pytest.approx(1 - RATE)


@pytest.mark.parametrize("optimizer", [SGD, AdamW])
@pytest.mark.parametrize("name", ["none", "fedprox"])
def test_a_weight_of_zero_is_plain_training_to_the_last_bit(name, optimizer):
    start, target = torch.randn(3, 3), torch.randn(3, 3)
    plain = two_steps(client("none"), start, target, optimizer)
    found = two_steps(client(name, proximal_mu=0.0), start, target, optimizer)
    assert torch.equal(plain, found)


@pytest.mark.parametrize("name", ["fedprox", "fedzmg"])
@pytest.mark.parametrize("row", DRIFTING, ids=str)
def test_every_strategy_runs_with_it_and_sends_no_more(row: Row, name: str):
    """Unequal ranks, a late node, lost replies: nothing of it is in any message."""
    settings = MethodSettings(drift_correction=name, proximal_mu=1.0)
    problem = Problem((1, 2, 4, 3), (10, 70, 20, 40), rate=0.003)
    plain, found = (
        Toy(row.make(drift_correction=half), problem)
        for half in (None, server_half(settings))
    )
    for faults in ({"n4": "absent"}, {"n2": "lost"}, {}):
        assert found.round(**faults)
        assert plain.round(**faults)
        assert found.grid.replied.keys() == plain.grid.replied.keys()
        for node, reply in found.grid.replied.items():
            other = plain.grid.replied[node]
            assert reply.content.keys() == other.content.keys()
    moved = (found.model()[HEAD] - plain.model()[HEAD]).norm()
    assert float(moved) > 1e-6


@pytest.mark.slow
def test_fedprox_ends_nearer_to_the_common_optimum_than_plain_averaging():
    """Clients of unequal curvature: the mean of their long local runs is biased."""
    curvature = torch.tensor([[1.0], [10.0]], dtype=torch.float64)
    targets = torch.tensor([[4.0], [0.0]], dtype=torch.float64)
    optimum = float((curvature * targets).sum() / curvature.sum())

    def end(mu: float) -> float:
        theta = torch.zeros(1, dtype=torch.float64)
        for _ in range(400):
            fresh = []
            for a, target in zip(curvature, targets, strict=True):
                local = theta.clone().requires_grad_()
                term = FedProxClient(mu).penalty({"w": local})
                stepper = SGD([local], lr=0.02)
                for _ in range(50):
                    stepper.zero_grad()
                    value = 0.5 * (a * (local - target).square()).sum()
                    (value + (term() if term else 0.0)).backward()
                    stepper.step()
                fresh.append(local.detach())
            theta = sum(fresh) / 2
        return abs(float(theta) - optimum)

    assert end(20.0) < 0.35 * end(0.0)
