"""FedAdamW and FedLADA: AdamW that goes on from the federation's moments, and along."""

import copy

import pytest
import torch
from torch.optim import AdamW

from ilora_app.corrections import Returned, client_half, server_half
from ilora_app.corrections.directed import MOMENT, STEPS, TRAVELLED
from ilora_app.corrections.directed_client import DirectedAdamW
from ilora_app.lora.control import displacement_in, rotate
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import MethodSettings, TrainingSettings

RATE, DECAY, GAMMA, ALPHA = 0.1, 0.2, 0.3, 0.1
B1, B2, EPS = 0.9, 0.999, 1e-8
SETTINGS = TrainingSettings(learning_rate=RATE, weight_decay=DECAY)
NAME = "head.w"
WEIGHTS = {1: 0.25, 2: 0.75}
TARGETS = {1: [3.0, 1.0], 2: [-1.0, 4.0]}


def f64(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def state(value: torch.Tensor) -> AdapterState:
    return AdapterState(LoraFactors({}), {"w": value})


def by_hand(theta, target, v, t, g, a, w):
    """Two steps, written out."""
    m = torch.zeros_like(theta)
    for k in (1, 2):
        gradient = theta - target
        m = B1 * m + (1 - B1) * gradient
        v = B2 * v + (1 - B2) * gradient**2
        fast = (m / (1 - B1**k)) / ((v / (1 - B2 ** (t + k))).sqrt() + EPS)
        theta = theta - RATE * DECAY * theta - RATE * (a * fast + w * g)
    return theta, v


def local(server, sent, theta, target):
    """Two steps of the client half on 1/2 ||theta - target||^2."""
    correction = client_half(
        MethodSettings(), server.facts(), sent, state(theta), [NAME], None, 1, 0
    )
    own = theta.clone().requires_grad_()
    optimizer = correction.optimizer({NAME: own}, [NAME])([own], SETTINGS)
    for _ in range(2):
        optimizer.zero_grad()
        (0.5 * (own - target).square().sum()).backward()
        optimizer.step()
    return own.detach(), correction.finish()


@pytest.mark.parametrize("sync", ["none", "block-means", "means"])
@pytest.mark.parametrize(
    ("name", "first", "later"),
    [("fedadamw", (1.0, GAMMA), (1.0, GAMMA)), ("fedlada", (1.0, 0.0), (ALPHA, 0.9))],
)
def test_two_clients_two_steps_and_two_rounds_by_hand(name, first, later, sync):
    chosen = MethodSettings(
        drift_correction=name,
        fedadamw_gamma=GAMMA,
        fedlada_alpha=ALPHA,
        moment_sync=sync,
    )
    server, theta = server_half(chosen), f64(1.0, -2.0)
    server.begin(state(theta))
    v, t, g = torch.zeros_like(theta), 0, torch.zeros_like(theta)
    for number, (a, w) in ((1, first), (2, later), (3, later)):
        down = server.broadcast([], LoraFactors({}))
        sent = {} if down is None else dict(down.named_tensors())
        for prefix, part in server.more().items():
            sent |= {prefix + n: value for n, value in part.named_tensors().items()}
        ends, uploads, moments = {}, {}, {}
        for node, values in TARGETS.items():
            ends[node], uploads[node] = local(server, sent, theta, f64(*values))
            expected, moments[node] = by_hand(theta, f64(*values), v, t, g, a, w)
            torch.testing.assert_close(ends[node], expected, rtol=1e-6, atol=1e-8)
        moved = {node: {NAME: end - theta} for node, end in ends.items()}
        server.aggregate(Returned(number, uploads, LoraFactors({}), (), moved, WEIGHTS))
        mean = sum(p * moved[node][NAME] for node, p in WEIGHTS.items())
        g = -mean / (2 * RATE)
        theta = theta + mean
        if sync != "none":
            v = sum(p * moments[node] for node, p in WEIGHTS.items())
            v = v if sync == "means" else torch.full_like(v, float(v.mean()))
            t += 2


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_without_direction_and_moments_it_is_torch_s_adamw_to_the_last_bit(decay):
    start = torch.randn(5, 3)
    settings = TrainingSettings(learning_rate=0.01, weight_decay=decay)
    ends = []
    for own in (True, False):
        theta = start.clone().requires_grad_()
        if own:
            optimizer = DirectedAdamW([theta], settings, 1.0, 0.0)
            optimizer.begin(theta, torch.zeros_like(theta), 0.0, None)
        else:
            optimizer = AdamW([theta], lr=0.01, weight_decay=decay)
        generator = torch.Generator().manual_seed(0)
        for _ in range(7):
            optimizer.zero_grad()
            target = torch.randn(5, 3, generator=generator)
            (theta - target).square().sum().backward()
            optimizer.step()
        ends.append(theta.detach())
    assert torch.equal(*ends)


def test_what_moves_factors_turns_the_other_way_than_gradients():
    """dB A + B dA is one matrix in any basis; kept, or as a gradient, it is another."""
    draw = torch.Generator().manual_seed(3)
    B, A, dB, dA = (
        torch.randn(*shape, generator=draw, dtype=torch.float64)
        for shape in ((6, 3), (3, 5), (6, 3), (3, 5))
    )
    T = torch.randn(3, 3, generator=draw, dtype=torch.float64)
    turned_B, turned_A = B @ T, torch.linalg.inv(T) @ A
    bases = LoraFactors({"m": (B, A)}), LoraFactors({"m": (turned_B, turned_A)})
    moved = AdapterState(LoraFactors({"m": (dB, dA)}), {})
    whole = dB @ A + B @ dA

    def seen(turned: AdapterState) -> torch.Tensor:
        new_dB, new_dA = turned.factors["m"]
        return new_dB @ turned_A + turned_B @ new_dA

    torch.testing.assert_close(seen(displacement_in(moved, *bases)), whole)
    for wrong in (moved, rotate(moved, *bases)):  # kept; as a gradient
        assert float((seen(wrong) - whole).norm() / whole.norm()) > 0.5


def test_the_server_turns_the_direction_with_the_basis_that_it_broadcasts():
    draw = torch.Generator().manual_seed(4)
    B, A = torch.randn(6, 3, generator=draw), torch.randn(3, 5, generator=draw)
    T = torch.randn(3, 3, generator=draw)
    dB, dA = torch.randn(6, 3, generator=draw), torch.randn(3, 5, generator=draw)
    old = LoraFactors({"m": (B, A)})
    new = LoraFactors({"m": (B @ T, torch.linalg.inv(T) @ A)})
    upload = {TRAVELLED: torch.tensor(1.0), STEPS: torch.tensor(1.0)}
    upload |= {MOMENT + n: torch.tensor(1.0) for n in ("m.lora_B", "m.lora_A")}
    moved = {1: AdapterState(LoraFactors({"m": (dB, dA)}), {}).named_tensors()}
    for turns in (True, False):
        server = server_half(MethodSettings(drift_correction="fedadamw"), "all", turns)
        server.begin(AdapterState(old, {}))
        server.aggregate(Returned(1, {1: upload}, old, (), moved, {1: 1.0}))
        gB, gA = server.broadcast([], new).factors["m"]
        seen = gB @ new["m"][1] + new["m"][0] @ gA
        gap = float((seen + dB @ A + B @ dA).norm() / seen.norm())
        assert (gap < 1e-4) == turns


def test_a_checkpoint_brings_back_direction_and_moments():
    server = server_half(MethodSettings(drift_correction="fedlada"), "all", True)
    like = AdapterState(LoraFactors({"m": (torch.rand(4, 2), torch.rand(2, 3))}), {})
    server.begin(like)
    upload = {TRAVELLED: torch.tensor(0.5), STEPS: torch.tensor(2.0)}
    upload |= {MOMENT + n: v.mean() for n, v in like.named_tensors().items()}
    moved = {1: like.named_tensors()}
    server.aggregate(Returned(1, {1: upload}, like.factors, (), moved, {1: 1.0}))
    again = server_half(MethodSettings(drift_correction="fedlada"), "all", True)
    again.begin(like)
    again.load(copy.deepcopy(server.saved({})[0]), {}, {})
    now = LoraFactors({"m": (torch.rand(4, 2), torch.rand(2, 3))})
    one, other = (s.broadcast([], now).named_tensors() for s in (server, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.facts() == server.facts()
