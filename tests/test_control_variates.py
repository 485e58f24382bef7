"""The two halves of control variates together, over rounds."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app import wire
from ilora_app.corrections import ControlVariates, ControlVariatesClient
from ilora_app.corrections.fitting import fit
from ilora_app.lora.factors import AdapterState, LoraFactors
from tests.builders import random_state


class Federation:
    """Clients with given raw gradients, over rounds; replies can be lost."""

    def __init__(self, ranks, adapter, basis="keep", **settings):
        self.server = ControlVariates(basis=basis, **settings)
        self.server.begin(adapter)
        self.ranks, self.adapter, self.basis = list(ranks), adapter, basis
        self.memories = [RecordDict() for _ in ranks]
        self.number = 0

    def join(self, rank):
        self.ranks.append(rank)
        self.memories.append(RecordDict())

    def round(self, gradients, lost=(), new=None):
        """One round; returns what each client's hook added to its gradient."""
        self.number += 1
        added, deltas, anew = [], {}, []
        for node, rank in enumerate(self.ranks):
            received, gradient = self.adapter.cut(rank), gradients[node]
            client = ControlVariatesClient(
                self.server.share(rank, self.ranks),
                received.factors,
                self.memories[node],
                self.basis,
                self.number,
                self.server.last_taken(node),
            )
            parameters = {
                name: torch.nn.Parameter(value.clone())
                for name, value in received.named_tensors().items()
            }
            hook = client.hook(parameters)
            for name, parameter in parameters.items():
                parameter.grad = gradient[name].clone()
            hook(torch.optim.SGD(parameters.values(), lr=0.1))
            added.append({n: p.grad - gradient[n] for n, p in parameters.items()})
            delta = client.finish()
            if node not in lost:
                deltas[node] = delta
                anew += [node] * client.anew
        new = new or self.adapter
        self.server.aggregate(
            self.number, deltas, self.adapter.factors, new.factors, anew
        )
        self.adapter = new
        return added


def gradient(rank, seed):
    return random_state(rank, seed=seed).named_tensors()


def largest(added):
    return max(float(v.abs().max()) for one in added for v in one.values())


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


def clients_total(federation):
    """sum_k pad(c_k), from what the clients of acknowledged uploads keep."""
    total = {}
    for memory in federation.memories:
        record = memory["control-variate-pending"]
        for name, value in wire.decode_tensors(record).items():
            like = federation.adapter.named_tensors()[name]
            total[name] = total.get(name, 0) + fit(value, like.shape)
    return total


@pytest.mark.parametrize("basis", ["keep", "rotate"])
def test_a_client_that_has_lost_its_state_leaves_nothing_behind_in_c(basis):
    """Or has one of an earlier round, or its first reply after that is lost."""
    ranks = [3, 2, 3]
    federation = Federation(ranks, random_state(3), basis, normalisation="all")
    old = {}
    for number in range(1, 8):
        if number == 2:
            old = dict(federation.memories[0].items())
        if number == 4:
            federation.memories[1] = RecordDict()
            federation.memories[0] = RecordDict(old)
        gradients = [gradient(r, 10 * number + r) for r in ranks]
        federation.round(gradients, lost=[1] if number in (4, 5) else [])
    control = federation.server.control(ranks).named_tensors()
    for name, value in clients_total(federation).items():
        assert torch.allclose(3 * control[name], value, atol=1e-5), name


def test_a_client_that_comes_back_with_a_smaller_rank_gives_up_the_rest():
    """The other one is the sole holder then, and has nothing to correct there."""
    federation = Federation([4, 4], random_state(4))
    same = gradient(4, 1)
    federation.round([gradient(4, 2), same])
    federation.server.take_over(0, 0, True, rank=2)
    federation.ranks[0] = 2
    _, added = federation.round([gradient(2, 3), same])
    for name, value in added.items():
        beyond = value[:, 2:] if name.endswith("lora_B") else value[2:]
        assert name.startswith("head") or beyond.abs().max() < 1e-6


def test_what_is_saved_is_of_those_that_may_come_back():
    federation = Federation([3, 3], random_state(3), normalisation="all")
    federation.round([gradient(3, 1), gradient(3, 2)])
    saved, taken = federation.server.saved({1: "one"})
    again = ControlVariates(normalisation="all")
    again.load(saved, taken, {"one": 7})
    for name, value in again.control([3]).named_tensors().items():
        assert torch.allclose(value, gradient(3, 2)[name], atol=1e-6)
    again.forget(7)
    assert largest([again.control([3]).named_tensors()]) < 1e-6


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
    sent = federation.server.share(2, [2])
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
    client = ControlVariatesClient(
        server.share(2, [2]), adapter.factors, RecordDict(), "keep", 1, 0
    )
    client.hook({n: torch.nn.Parameter(t) for n, t in adapter.named_tensors().items()})
    full = random_state(2, seed=7).named_tensors()
    delta = client.finish(full)
    for name, value in full.items():
        torch.testing.assert_close(delta[name], value)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="all, holders"):
        ControlVariates(normalisation="none")
