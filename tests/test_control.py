"""Control variates: change of basis, and the mean over members."""

import pytest
import torch

from ilora_app.corrections.shapes import fit
from ilora_app.lora.control import (
    displacement_in,
    mean_over_members,
    rotate,
    weighted_sum,
    within_scope,
    zeros_like,
)
from ilora_app.lora.factors import AdapterState, LoraFactors
from tests.builders import SHAPES, random_state
from tests.controlled import Federation, gradient


def loss_of(B: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """Any smooth function of the product alone."""
    return torch.sin(B @ A).sum() + ((B @ A) ** 2).sum()


def test_rotate_is_the_gradient_in_an_exact_change_of_basis():
    generator = torch.Generator().manual_seed(0)
    new = {"generator": generator, "dtype": torch.float64}
    rank = 4
    T = torch.randn(rank, rank, **new) + 3 * torch.eye(rank, dtype=torch.float64)
    gradients, expected, old, turned_to = {}, {}, {}, {}
    for name, (d_out, d_in) in SHAPES.items():
        B = torch.randn(d_out, rank, **new, requires_grad=True)
        A = torch.randn(rank, d_in, **new, requires_grad=True)
        gradients[name] = torch.autograd.grad(loss_of(B, A), (B, A))
        B2 = (B @ T).detach().requires_grad_()
        A2 = (torch.linalg.inv(T) @ A).detach().requires_grad_()
        expected[name] = torch.autograd.grad(loss_of(B2, A2), (B2, A2))
        old[name] = B.detach(), A.detach()
        turned_to[name] = B2.detach(), A2.detach()
    both = LoraFactors(old), LoraFactors(turned_to)
    turned = rotate(AdapterState(LoraFactors(gradients), {}), *both)
    for name in SHAPES:
        torch.testing.assert_close(turned.factors[name][0], expected[name][0])
        torch.testing.assert_close(turned.factors[name][1], expected[name][1])


def test_rotate_keeps_the_head_and_drops_lost_directions():
    control = random_state(2)
    old, new = (
        LoraFactors({n: (torch.eye(o)[:, part], torch.eye(i)[part])
                     for n, (o, i) in SHAPES.items()})
        for part in (slice(0, 2), slice(2, 4))
    )  # fmt: skip
    turned = rotate(control, old, new)
    assert turned.head is control.head
    for B, A in turned.factors.pairs.values():
        assert not B.any()
        assert not A.any()


def test_rotate_serves_another_rank():
    control = random_state(4)
    sides = ((n, *(torch.randn(d, 4) for d in shape)) for n, shape in SHAPES.items())
    Q = torch.linalg.qr
    old = LoraFactors({n: (Q(left).Q, Q(right).Q.T) for n, left, right in sides})
    turned = rotate(control, old, old.cut(2))
    for name, (c_B, c_A) in turned.factors.items():
        torch.testing.assert_close(c_B, control.factors[name][0][:, :2])
        torch.testing.assert_close(c_A, control.factors[name][1][:2])


@pytest.mark.parametrize("left", [True, False])
def test_factors_that_have_grown_are_no_change_of_basis(left):
    """B = U S under an orthonormal A, or A = S V^T over an orthonormal B."""
    draw = torch.Generator().manual_seed(5)
    U, V = (torch.linalg.qr(torch.randn(d, 3, generator=draw)).Q for d in (9, 7))
    G = torch.randn(9, 7, generator=draw)  # the gradient of the product

    def factors(S):
        return LoraFactors({"m": (U * S, V.T) if left else (U, (V * S).T)})

    def gradients(f):
        B, A = f["m"]
        return AdapterState(LoraFactors({"m": (G @ A.T, B.T @ G)}), {})

    S = torch.tensor([1.0, 0.1, 0.01])
    old, new = factors(S), factors(S * torch.tensor([2.0, 20.0, 50.0]))
    found = rotate(gradients(old), old, new).factors["m"]
    torch.testing.assert_close(found, gradients(new).factors["m"], rtol=1e-4, atol=1e-5)
    moved = gradients(old)
    (dB, dA), (B, A), (B2, A2) = moved.factors["m"], old["m"], new["m"]
    dB2, dA2 = displacement_in(moved, old, new).factors["m"]
    torch.testing.assert_close(dB2 @ A2, dB @ A, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(B2 @ dA2, B @ dA, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalisation", ["all", "holders"])
@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [5, 1, 3, 7]])
def test_mean_divides_by_the_weights_of_members_or_holders(normalisation, weights):
    ranks = [1, 2, 4, 4]
    total = random_state(4, seed=9)
    mean = mean_over_members(total, ranks, weights, normalisation)
    whole = sum(weights)
    held = {"all": [whole] * 4, "holders": [whole, sum(weights[1:])]}[normalisation]
    held = [*held, sum(weights[2:]), sum(weights[2:])][:4]
    for name in SHAPES:
        for j in range(4):
            B, A = total.factors[name]
            torch.testing.assert_close(mean.factors[name][0][:, j], B[:, j] / held[j])
            torch.testing.assert_close(mean.factors[name][1][j], A[j] / held[j])
    head = "classifier.weight"
    torch.testing.assert_close(mean.head[head], total.head[head] / whole)


def test_the_weighted_sum_is_one():
    parts = [(random_state(4, seed=n), w) for n, w in ((1, 2.0), (2, 0.5))]
    total = weighted_sum(random_state(4), parts).named_tensors()
    for name, value in total.items():
        one, two = (part.named_tensors()[name] for part, _ in parts)
        torch.testing.assert_close(value, 2 * one + 0.5 * two)
    assert not any(v.any() for v in weighted_sum(parts[0][0], []).head.values())


def test_the_published_recursion_is_the_mean_of_what_clients_hold():
    """c <- c + sum_k (c_k+ - c_k) / N, over rounds of a federation of one size."""
    ranks, adapter = [2, 3, 3], random_state(3, seed=1)
    federation = Federation(ranks, adapter, normalisation="all", weights="uniform")
    federation.examples = [5, 1, 3]
    c = {n: torch.zeros_like(t) for n, t in adapter.named_tensors().items()}
    held = [{} for _ in ranks]
    for number in range(3):
        gradients = [gradient(r, 10 * number + i) for i, r in enumerate(ranks)]
        federation.round(gradients, lost=[1] if number == 1 else [])
        for k, fresh in enumerate(gradients):
            if (number, k) == (1, 1):
                continue
            for name, value in c.items():
                delta = fresh[name] - held[k].get(name, 0.0)
                c[name] = value + fit(delta, value.shape) / 3
            held[k] = fresh
    for name, value in federation.control().named_tensors().items():
        torch.testing.assert_close(value, c[name])


def test_scopes():
    state = random_state(2)
    assert within_scope(state, "head").factors.pairs == {}
    assert within_scope(state, "head").head == state.head
    assert within_scope(state, "factors").head == {}
    assert within_scope(state, "all").named_tensors().keys() == (
        state.named_tensors().keys()
    )
    assert not any(t.any() for t in zeros_like(state).named_tensors().values())
