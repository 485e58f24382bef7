"""Control variates: change of basis, normalisation, and the optimizer hook."""

import pytest
import torch

from ilora_app.lora.control import (
    GradientCorrection,
    add_deltas,
    mean_over_members,
    rotate,
    within_scope,
    zeros_like,
)
from ilora_app.lora.factors import AdapterState, LoraFactors
from tests.builders import SHAPES, random_state


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
def test_mean_divides_by_members_or_holders(normalisation):
    ranks = [1, 2, 4, 4]
    total = random_state(4, seed=9)
    mean = mean_over_members(total, ranks, normalisation)
    holders = {"all": [4, 4, 4, 4], "holders": [4, 3, 2, 2]}[normalisation]
    for name in SHAPES:
        for j in range(4):
            B, A = total.factors[name]
            torch.testing.assert_close(
                mean.factors[name][0][:, j], B[:, j] / holders[j]
            )
            torch.testing.assert_close(mean.factors[name][1][j], A[j] / holders[j])
    head = "classifier.weight"
    torch.testing.assert_close(mean.head[head], total.head[head] / 4)


def test_deltas_are_padded_and_added():
    total = random_state(4, seed=9)
    deltas = [random_state(rank, seed=rank) for rank in (1, 2, 4)]
    added = add_deltas(total, deltas).named_tensors()
    for name, value in total.named_tensors().items():
        padded = [delta.pad(4).named_tensors()[name] for delta in deltas]
        torch.testing.assert_close(added[name], value + sum(padded))


def test_no_deltas_change_nothing():
    total = random_state(2)
    assert add_deltas(total, []) is total


def test_the_published_recursion_is_the_mean_of_sums():
    """c <- c + sum_k (c_k+ - c_k) / N, over rounds of a federation of one size."""
    ranks, c = [2, 3, 3], random_state(3, seed=1)
    c = AdapterState.from_named_tensors(
        {n: 0 * t for n, t in c.named_tensors().items()}
    )
    total = c
    for number in range(3):
        deltas = [random_state(r, seed=10 * number + i) for i, r in enumerate(ranks)]
        total = add_deltas(total, deltas)
        padded = [delta.pad(3).named_tensors() for delta in deltas]
        c = AdapterState.from_named_tensors(
            {n: t + sum(p[n] for p in padded) / 3 for n, t in c.named_tensors().items()}
        )
    mean = mean_over_members(total, ranks, "all").named_tensors()
    for name, value in c.named_tensors().items():
        torch.testing.assert_close(mean[name], value)


def test_scopes():
    state = random_state(2)
    assert within_scope(state, "head").factors.pairs == {}
    assert within_scope(state, "head").head == state.head
    assert within_scope(state, "factors").head == {}
    assert within_scope(state, "all").named_tensors().keys() == (
        state.named_tensors().keys()
    )
    assert not any(t.any() for t in zeros_like(state).named_tensors().values())


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_hook_equals_an_optimizer_fed_the_corrected_gradient(optimizer):
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    correction = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    hooked, fed = start.clone().requires_grad_(), start.clone().requires_grad_()
    settings = {"lr": 0.1, "weight_decay": 0.3}
    with_hook, plain = optimizer([hooked], **settings), optimizer([fed], **settings)
    hook = GradientCorrection({"w": hooked}, {"w": correction})
    with_hook.register_step_pre_hook(hook)
    raw, sizes = [], [4, 4, 2]
    for size in sizes:
        with_hook.zero_grad()
        (torch.sin(hooked) ** 2).sum().backward()
        raw.append(hooked.grad.clone())
        hook.examples = size
        with_hook.step()
        plain.zero_grad()
        (torch.sin(fed) ** 2).sum().backward()
        fed.grad += correction
        plain.step()
        assert torch.equal(hooked, fed)
    mean = sum(s * g for s, g in zip(sizes, raw, strict=True)) / sum(sizes)
    torch.testing.assert_close(hook.mean_gradient()["w"], mean)
