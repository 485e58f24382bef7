"""The two halves of control variates together, over rounds."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app.corrections import ControlVariates, ControlVariatesClient
from ilora_app.lora.factors import AdapterState
from tests.builders import random_state


def run_round(server, memories, ranks, adapter, gradients, basis="keep", new=None):
    """One round with given raw gradients; returns what each client's hook added."""
    added, deltas = [], []
    for memory, rank, gradient in zip(memories, ranks, gradients, strict=True):
        received = adapter.cut(rank)
        client = ControlVariatesClient(
            server.share(rank), received.factors, memory, basis
        )
        parameters = {
            n: torch.nn.Parameter(t.clone())
            for n, t in received.named_tensors().items()
        }
        hook = client.hook(parameters)
        for name, parameter in parameters.items():
            parameter.grad = gradient[name].clone()
        hook(torch.optim.SGD(parameters.values(), lr=0.1))
        added.append({n: p.grad - gradient[n] for n, p in parameters.items()})
        deltas.append(client.finish())
    new = new or adapter
    server.aggregate(deltas, ranks, adapter.factors, new.factors)
    return added, deltas


def test_vanish_for_a_single_client():
    server, memory, adapter = ControlVariates(), RecordDict(), random_state(3)
    server.begin(adapter)
    for seed in range(3):
        gradient = random_state(3, seed=seed).named_tensors()
        (added,), _ = run_round(server, [memory], [3], adapter, [gradient])
        for value in added.values():
            torch.testing.assert_close(
                value, torch.zeros_like(value), atol=1e-6, rtol=0
            )


@pytest.mark.parametrize("normalisation", ["all", "holders"])
def test_vanish_for_identical_clients(normalisation):
    server, adapter = ControlVariates(normalisation), random_state(3)
    server.begin(adapter)
    memories = [RecordDict() for _ in range(4)]
    for seed in range(3):
        gradient = random_state(3, seed=seed).named_tensors()
        added, _ = run_round(server, memories, [3] * 4, adapter, [gradient] * 4)
        for one in added:
            for value in one.values():
                torch.testing.assert_close(
                    value, torch.zeros_like(value), atol=1e-6, rtol=0
                )


def test_correction_is_mean_gradient_minus_own_gradient():
    server, adapter = ControlVariates(), random_state(4)
    server.begin(adapter)
    ranks, memories = [2, 4], [RecordDict(), RecordDict()]
    first = [random_state(r, seed=r).named_tensors() for r in ranks]
    added, _ = run_round(server, memories, ranks, adapter, first)
    assert not any(v.abs().max() > 1e-6 for one in added for v in one.values())
    added, _ = run_round(server, memories, ranks, adapter, first)
    head = "head.classifier.weight"
    mean = (first[0][head] + first[1][head]) / 2
    torch.testing.assert_close(added[0][head], mean - first[0][head])
    row = "encoder.query.lora_A"
    # Index 0 has two holders, index 3 only the second client.
    torch.testing.assert_close(
        added[1][row][0], (first[0][row][0] + first[1][row][0]) / 2 - first[1][row][0]
    )
    torch.testing.assert_close(
        added[1][row][3], torch.zeros_like(added[1][row][3]), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("scope", ["head", "factors"])
def test_scope_sends_and_corrects_only_its_part(scope):
    server, adapter = ControlVariates(scope=scope), random_state(2)
    server.begin(adapter)
    gradient = random_state(2, seed=5).named_tensors()
    _, (delta,) = run_round(server, [RecordDict()], [2], adapter, [gradient])
    assert delta
    assert all(name.startswith("head.") == (scope == "head") for name in delta)


def test_rotated_control_variates_follow_an_exact_change_of_basis():
    """c - c_k in the new basis is the transformed c - c_k of the old one."""
    server = ControlVariates(basis="rotate")
    adapter = random_state(3)
    T = torch.tensor([[2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, -0.4, 1.0]])
    turned = {
        n: (B @ T, torch.linalg.inv(T) @ A) for n, (B, A) in adapter.factors.items()
    }
    new = AdapterState(type(adapter.factors)(turned), adapter.head)
    server.begin(adapter)
    memories = [RecordDict(), RecordDict()]
    gradients = [random_state(3, seed=s).named_tensors() for s in (1, 2)]
    run_round(server, memories, [3, 3], adapter, gradients, "rotate", new)
    added, _ = run_round(server, memories, [3, 3], new, gradients, "rotate")
    name = "encoder.value.lora_A"
    difference = (gradients[0][name] + gradients[1][name]) / 2 - gradients[0][name]
    torch.testing.assert_close(added[0][name], T.T @ difference, atol=1e-4, rtol=1e-4)
    name = "encoder.value.lora_B"
    difference = (gradients[0][name] + gradients[1][name]) / 2 - gradients[0][name]
    torch.testing.assert_close(
        added[0][name], difference @ torch.linalg.inv(T).T, atol=1e-4, rtol=1e-4
    )


def test_full_pass_gradient_replaces_the_local_mean():
    server, adapter, memory = ControlVariates(), random_state(2), RecordDict()
    server.begin(adapter)
    client = ControlVariatesClient(server.share(2), adapter.factors, memory, "keep")
    client.hook({n: torch.nn.Parameter(t) for n, t in adapter.named_tensors().items()})
    full = random_state(2, seed=7).named_tensors()
    delta = client.finish(full)
    for name, value in full.items():
        torch.testing.assert_close(delta[name], value)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="all, holders"):
        ControlVariates(normalisation="none")
