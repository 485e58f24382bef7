"""FedSMOO and FedGLOMO: corrections that need a step's gradient at a second place."""

import copy

import pytest
import torch

from ilora_app.corrections import Returned, client_half, server_half
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import MethodSettings
from tests.two_clients import (
    BETA,
    CURVES,
    HOLDERS,
    LAMBDA,
    NAME,
    NOTHING,
    RATE,
    RHO,
    TARGETS,
    WEIGHTS,
    Federation,
    f64,
    gradient_of,
    plain,
    state,
)

pytestmark = pytest.mark.slow


def test_two_clients_two_steps_and_two_rounds_of_fedsmoo_by_hand():
    made = {"drift_correction": "fedsmoo", "fedsmoo_rho": RHO, "fedsmoo_lambda": LAMBDA}
    federation, theta = Federation(**made), f64(1.0, -2.0)
    h = {node: torch.zeros_like(theta) for node in TARGETS}
    mu = {node: torch.zeros_like(theta) for node in TARGETS}
    s = torch.zeros_like(theta)
    for _ in range(3):
        ends = {}
        for node in TARGETS:
            own = theta
            for _ in range(2):
                q = gradient_of(node, own) - mu[node] - s
                e = RHO * q / q.norm()
                mu[node] = mu[node] + e - s
                g = gradient_of(node, own + e)
                own = own - RATE * (g + LAMBDA * (own - theta) + LAMBDA * h[node])
            ends[node] = own
            h[node] = h[node] + own - theta
        mean_mu = sum(p * mu[node] for node, p in WEIGHTS.items())
        s = RHO * mean_mu / mean_mu.norm()
        theta = sum(p * (ends[node] + h[node]) for node, p in WEIGHTS.items())
        found = federation.round()
        torch.testing.assert_close(found, theta, rtol=1e-5, atol=1e-6)


def test_two_clients_two_steps_and_three_rounds_of_fedglomo_by_hand():
    federation = Federation(drift_correction="fedglomo", fedglomo_beta=BETA)
    theta, previous, u = f64(1.0, -2.0), None, None

    def mean_way(start):
        """theta - sum_k p_k theta_k; full batches, so v_j is the gradient at w_j."""
        return start - plain(start, 1)

    for _ in range(3):
        A = mean_way(theta)
        if previous is None:
            u = A
        else:
            u = BETA * A + (1 - BETA) * (u + A - mean_way(previous))
        previous, theta = theta, theta - u
        torch.testing.assert_close(federation.round(), theta, rtol=1e-6, atol=1e-7)


def test_the_local_momentum_of_fedglomo_uses_one_batch_at_two_places():
    """v_j = v_{j-1} + g_j(w_j) - g_j(w_{j-1}), g_j of one batch."""
    named = {"drift-correction": "fedglomo"}
    start = state(f64(0.0))
    half = client_half(MethodSettings(), named, {}, start, [], None, 1, 0)
    own, batches = f64(0.0).requires_grad_(), [2.0, -1.0, 5.0]
    run = half.gradient({NAME: own})
    w, v = [f64(0.0)], None
    for j, batch in enumerate(batches):

        def backward(batch=batch, own=own):
            loss = 0.25 * (own - batch).pow(4).sum()
            loss.backward()
            return loss

        own.grad = None
        run(backward)
        here = (w[-1] - batch) ** 3
        v = here if v is None else v + here - (w[-2] - batch) ** 3
        torch.testing.assert_close(own.grad, v, msg=f"step {j}")
        with torch.no_grad():
            own -= 0.01 * own.grad
        w.append(own.detach().clone())


def test_coefficients_of_zero_are_plain_averaging():
    chosen = (
        {"drift_correction": "fedprox", "proximal_mu": 0.0},
        {"drift_correction": "fedsmoo", "fedsmoo_rho": 0.0, "fedsmoo_lambda": 0.0},
        {"drift_correction": "fedglomo", "fedglomo_beta": 1.0},
    )
    ends = []
    for settings in chosen:
        federation = Federation(**settings)
        for _ in range(3):
            end = federation.round()
        ends.append(end)
    assert torch.equal(ends[0], ends[1])
    # v_j is the gradient of a full batch but for the rounding of g + g' - g'.
    torch.testing.assert_close(ends[0], ends[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ends[0], plain(f64(1.0, -2.0), 3), rtol=1e-12, atol=0)


def test_fedsmoo_ends_at_the_common_optimum_where_plain_averaging_is_biased():
    top = sum(p * CURVES[n] * f64(*TARGETS[n]) for n, p in WEIGHTS.items())
    optimum = top / sum(p * CURVES[n] for n, p in WEIGHTS.items())
    biased = float((plain(f64(1.0, -2.0), 400, steps=8) - optimum).norm())
    assert biased > 0.1
    made = {"fedsmoo_rho": 0.0, "fedsmoo_lambda": 1.0}
    federation = Federation(drift_correction="fedsmoo", **made)
    for _ in range(400):
        found = federation.round(steps=8)
    assert float((found - optimum).norm()) < 0.02 * biased


def test_fedglomo_is_less_noisy_than_plain_averaging_of_the_same_batches():
    """What it is for: the variance of batches, not the bias of averaging."""

    def spread(**settings):
        federation, tail = Federation(**settings), []
        federation.noise = torch.Generator()
        for number in range(300):
            federation.seed = number
            tail.append(federation.round())
        tail = torch.cat(tail[100:])
        return float((tail - tail.mean(dim=0)).square().sum(dim=1).mean())

    plain_spread = spread(drift_correction="fedprox", proximal_mu=0.0)
    found = spread(drift_correction="fedglomo", fedglomo_beta=0.1)
    assert found < 0.5 * plain_spread


@pytest.mark.parametrize("name", ["fedsmoo", "fedglomo"])
def test_a_checkpoint_goes_on_to_the_last_bit(name):
    federation = Federation(drift_correction=name)
    federation.round()
    federation.round(replies=(2,))
    again = Federation(drift_correction=name)
    again.theta, again.number = federation.theta.clone(), federation.number
    again.memories = copy.deepcopy(federation.memories)
    saved, taken = federation.server.saved({1: "a", 2: "b"})
    again.server.load(copy.deepcopy(saved), taken, {"a": 1, "b": 2})
    for _ in range(2):
        assert torch.equal(federation.round(), again.round())


def test_a_lost_reply_moves_neither_h_nor_its_mean():
    """The mean of the h that clients hold is what the server adds."""
    federation = Federation(drift_correction="fedsmoo", fedsmoo_rho=0.0)
    for replies in ((1, 2), (2,), (1, 2), (1,), (1, 2)):
        federation.round(replies=replies)
    last = federation.number + 1
    held = {}
    for node, memory in federation.memories.items():
        half = client_half(
            MethodSettings(),
            federation.server.facts(),
            {},
            state(federation.theta),
            [NAME],
            memory,
            last,
            federation.server.last_taken(node),
        )
        assert not half.lost
        held[node] = half._h[NAME]
    mean = sum(p * held[node].double() for node, p in WEIGHTS.items())
    zero = state(torch.zeros(1, 2, dtype=torch.float64))
    federation.server.broadcast(HOLDERS, NOTHING)
    added = federation.server.step(zero, zero).head["w"]
    torch.testing.assert_close(added, mean, rtol=1e-5, atol=1e-6)


def test_a_factor_without_a_turn_keeps_its_momentum_under_fedglomo():
    server = server_half(
        MethodSettings(drift_correction="fedglomo", fedglomo_beta=BETA)
    )

    def both(b, a):
        return AdapterState(LoraFactors({"m": (f64(b, b), f64(a).T)}), {})

    theta = both(0.0, 0.0)
    server.begin(theta)
    B, A = "m.lora_B", "m.lora_A"
    for number, name in enumerate((B, A, B), start=1):
        uploads = {1: {name: torch.zeros_like(theta.named_tensors()[name])}}
        moved = {1: {name: torch.ones_like(theta.named_tensors()[name])}}
        sent = uploads if number > 1 else {1: {}}
        server.aggregate(Returned(number, sent, NOTHING, (), moved, {1: 1.0}))
        mean = dict(theta.named_tensors())
        mean[name] = mean[name] + 1.0
        before = theta.named_tensors()
        theta = server.step(theta, AdapterState.from_named_tensors(mean))
        went = {
            n: float((v - before[n]).max()) for n, v in theta.named_tensors().items()
        }
        if number == 3:  # u was -1 in round 1, A is -1, A' is 0
            assert went[B] == pytest.approx(BETA + (1 - BETA) * 2)
        assert went[A if name == B else B] == 0.0
