"""The two halves of control variates together, over rounds."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app.corrections import ControlVariates, ControlVariatesClient, Holder
from ilora_app.corrections.shapes import fit
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.node.client_state import ClientState
from tests.builders import random_state
from tests.controlled import Federation, gradient, largest

HEAD = "head.classifier.weight"


def test_vanish_for_a_single_client():
    federation = Federation([3], random_state(3))
    for seed in range(3):
        assert largest(federation.round([gradient(3, seed)])) < 1e-6


@pytest.mark.parametrize("normalisation", ["all", "holders"])
def test_vanish_for_identical_clients(normalisation):
    federation = Federation([3] * 4, random_state(3), normalisation=normalisation)
    for seed in range(3):
        assert largest(federation.round([gradient(3, seed)] * 4)) < 1e-6


def test_correction_is_mean_gradient_minus_own_gradient():
    federation = Federation([2, 4], random_state(4))
    first = [gradient(2, 2), gradient(4, 4)]
    assert largest(federation.round(first)) < 1e-6
    added = federation.round(first)
    mean = (first[0][HEAD] + first[1][HEAD]) / 2
    torch.testing.assert_close(added[0][HEAD], mean - first[0][HEAD])
    row = "encoder.query.lora_A"
    # Index 0 has two holders, index 3 only the second client.
    torch.testing.assert_close(
        added[1][row][0], (first[0][row][0] + first[1][row][0]) / 2 - first[1][row][0]
    )
    assert added[1][row][3].abs().max() < 1e-6


def test_a_lost_reply_leaves_both_sides_where_they_were():
    """Corrections sum to zero over clients, whatever was lost on the way."""
    federation = Federation([2, 2, 2], random_state(2))
    gradients = [gradient(2, seed) for seed in range(3)]
    for lost in ((1,), (), (0, 2), (0, 1, 2), ()):
        federation.round(gradients, lost=lost)
    added = federation.round(gradients)
    mean = sum(g[HEAD] for g in gradients) / 3
    for one, own in zip(added, gradients, strict=True):
        torch.testing.assert_close(one[HEAD], mean - own[HEAD])


@pytest.mark.parametrize("normalisation", ["all", "holders"])
def test_a_late_node_does_not_leave_c_too_large(normalisation):
    federation = Federation([3, 3], random_state(3), normalisation=normalisation)
    same = gradient(3, 5)
    federation.round([same] * 2)
    federation.join(3)
    federation.join(3)
    federation.round([same] * 4)
    assert largest(federation.round([same] * 4)) < 1e-6


def test_a_gradient_that_is_not_finite_is_forgotten():
    federation = Federation([2, 2], random_state(2))
    good = [gradient(2, 1), gradient(2, 2)]
    federation.round(good)
    broken = {name: value * float("nan") for name, value in good[1].items()}
    federation.round([good[0], broken], lost=(1,))
    added = federation.round(good)
    mean = (good[0][HEAD] + good[1][HEAD]) / 2
    torch.testing.assert_close(added[1][HEAD], mean - good[1][HEAD])


def test_an_upload_that_overflows_is_not_taken():
    federation = Federation([2, 2], random_state(2))
    good = [gradient(2, 1), gradient(2, 2)]
    federation.round(good)
    huge = {n: torch.full_like(v, 3e38) for n, v in good[1].items()}
    federation.round([huge, huge])
    added = federation.round(good)
    mean = (good[0][HEAD] + good[1][HEAD]) / 2
    torch.testing.assert_close(added[0][HEAD], mean - good[0][HEAD])


@pytest.mark.parametrize("scope", ["head", "factors"])
def test_scope_sends_and_corrects_only_its_part(scope):
    federation = Federation([2], random_state(2), scope=scope)
    (added,) = federation.round([gradient(2, 5)])
    sent = federation.control().named_tensors()
    assert sent
    assert all(name.startswith("head.") == (scope == "head") for name in sent)
    for name, value in added.items():
        assert name in sent or not value.any()


def test_rotated_control_variates_follow_an_exact_change_of_basis():
    """c - c_k in the new basis is the transformed c - c_k of the old one."""
    adapter = random_state(3)
    T = torch.tensor([[2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 1.0]])
    turned = {
        n: (B @ T, torch.linalg.inv(T) @ A) for n, (B, A) in adapter.factors.items()
    }
    new = AdapterState(LoraFactors(turned), adapter.head)
    federation = Federation([3, 3], adapter, basis="rotate")
    gradients = [gradient(3, 1), gradient(3, 2)]
    federation.round(gradients, new=new)
    added = federation.round(gradients)
    for name, transform in (
        ("encoder.value.lora_A", lambda c: T.T @ c),
        ("encoder.value.lora_B", lambda c: c @ torch.linalg.inv(T).T),
    ):
        difference = (gradients[0][name] + gradients[1][name]) / 2 - gradients[0][name]
        torch.testing.assert_close(
            added[0][name], transform(difference), atol=1e-4, rtol=1e-4
        )


def test_full_pass_gradient_replaces_the_local_mean():
    server, adapter = ControlVariates(), random_state(2)
    server.begin(adapter)
    sent = server.broadcast([Holder(0, 2, 1)], adapter.factors).named_tensors()
    client = ControlVariatesClient(
        sent, adapter.factors, ClientState(RecordDict()), "keep", 1, 0
    )
    client.hook({n: torch.nn.Parameter(t) for n, t in adapter.named_tensors().items()})
    full = random_state(2, seed=7).named_tensors()
    delta = client.finish(full)
    for name, value in full.items():
        torch.testing.assert_close(delta[name], value)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="all, holders"):
        ControlVariates(normalisation="none")


def test_many_examples_do_not_make_c_overflow():
    federation = Federation([2, 2], random_state(2))
    federation.examples = [10**6, 10**6]
    huge = {n: torch.full_like(v, 1e37) for n, v in gradient(2, 1).items()}
    federation.round([huge, huge])
    assert all(
        v.isfinite().all() for v in federation.control().named_tensors().values()
    )


def test_weights_are_those_of_the_factors():
    """Then the weighted corrections sum to zero; the plain ones do not."""
    for weights, right in (("examples", [10, 1, 4]), ("uniform", [1, 1, 1])):
        federation = Federation([2, 2, 2], random_state(2), weights=weights)
        federation.examples = [10, 1, 4]
        gradients = [gradient(2, seed) for seed in range(3)]
        federation.round(gradients)
        added = federation.round(gradients)
        for name in gradients[0]:
            total = sum(w * one[name] for w, one in zip(right, added, strict=True))
            assert total.abs().max() < 1e-4, (weights, name)


@pytest.mark.parametrize("basis", ["keep", "rotate"])
def test_c_is_the_mean_of_what_clients_hold_whatever_the_basis_does(basis):
    """Over rounds of other bases, with unequal ranks and clients that are away."""
    ranks = [2, 3, 5, 4]
    federation = Federation(ranks, random_state(5), basis)
    for number in range(1, 8):
        gradients = [gradient(r, 10 * number + r) for r in ranks]
        away = [] if number == 1 else [number % 4, (number + 1) % 4]
        turned = random_state(5, seed=number) if number % 2 else None
        federation.round(gradients, lost=away, new=turned)
    # What a client subtracts from its gradient is c_k as it holds it now.
    control, zeros = federation.control(), [gradient(r, 0) for r in ranks]
    held = [
        {n: control.cut(rank).named_tensors()[n] - v for n, v in added.items()}
        for rank, added in zip(ranks, federation.round(zeros), strict=True)
    ]
    for name, value in control.named_tensors().items():
        index = torch.arange(5)
        holders = sum((r > index).float() for r in ranks)
        total = sum(fit(own[name], value.shape) for own in held)
        if name == HEAD:
            expected = total / 4
        elif name.endswith("lora_B"):
            expected = total / holders
        else:
            expected = total / holders.unsqueeze(1)
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=1e-4)
