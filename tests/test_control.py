"""Control variates: change of basis, and the mean over members."""

import pytest
import torch

from ilora_app.corrections.shapes import fit
from ilora_app.lora.control import (
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
    gradients, expected, old_B, new_B = {}, {}, {}, {}
    for name, (d_out, d_in) in SHAPES.items():
        B = torch.randn(d_out, rank, **new, requires_grad=True)
        A = torch.randn(rank, d_in, **new, requires_grad=True)
        gradients[name] = torch.autograd.grad(loss_of(B, A), (B, A))
        B2 = (B @ T).detach().requires_grad_()
        A2 = (torch.linalg.inv(T) @ A).detach().requires_grad_()
        expected[name] = torch.autograd.grad(loss_of(B2, A2), (B2, A2))
        old_B[name], new_B[name] = B.detach(), B2.detach()
    turned = rotate(AdapterState(LoraFactors(gradients), {}), old_B, new_B)
    for name in SHAPES:
        torch.testing.assert_close(turned.factors[name][0], expected[name][0])
        torch.testing.assert_close(turned.factors[name][1], expected[name][1])


def test_rotate_keeps_the_head_and_drops_lost_directions():
    control = random_state(2)
    old = {n: torch.eye(d_out)[:, :2] for n, (d_out, _) in SHAPES.items()}
    new = {n: torch.eye(d_out)[:, 2:4] for n, (d_out, _) in SHAPES.items()}
    turned = rotate(control, old, new)
    assert turned.head is control.head
    for B, A in turned.factors.pairs.values():
        assert not B.any()
        assert not A.any()


def test_rotate_serves_another_rank():
    control = random_state(4)
    old = {n: torch.linalg.qr(torch.randn(d, 4)).Q for n, (d, _) in SHAPES.items()}
    new = {name: B[:, :2] for name, B in old.items()}
    turned = rotate(control, old, new)
    for name, (c_B, c_A) in turned.factors.items():
        torch.testing.assert_close(c_B, control.factors[name][0][:, :2])
        torch.testing.assert_close(c_A, control.factors[name][1][:2])


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
