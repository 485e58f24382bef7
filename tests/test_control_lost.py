"""What clients have lost or given up does not stay in c."""

import pytest
import torch
from flwr.app import RecordDict

from ilora_app.corrections import ControlVariates, Holder
from ilora_app.corrections.shapes import fit
from ilora_app.node.client_state import ClientState
from tests.builders import random_state
from tests.controlled import Federation, gradient, largest


def clients_total(federation):
    """sum_k pad(c_k), from what the clients of acknowledged uploads keep."""
    total = {}
    for memory in federation.memories:
        for name, value in memory.tensors("control-variate-pending").items():
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
            old = dict(federation.memories[0]._records.items())
        if number == 4:
            federation.memories[1] = ClientState(RecordDict())
            federation.memories[0] = ClientState(RecordDict(old))
        gradients = [gradient(r, 10 * number + r) for r in ranks]
        federation.round(gradients, lost=[1] if number in (4, 5) else [])
    control = federation.control().named_tensors()
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


@pytest.mark.parametrize("basis", ["keep", "rotate"])
def test_a_smaller_rank_is_cut_before_it_is_turned(basis):
    """A client that is alone has nothing to correct, whatever it has given up."""
    federation = Federation([4], random_state(4), basis)
    federation.round([gradient(4, 1)], new=random_state(4, seed=8))
    federation.server.take_over(0, 0, True, rank=2)
    federation.ranks[0] = 2
    for number in (2, 3, 4):
        new = random_state(4, seed=number)
        (added,) = federation.round([gradient(2, number)], new=new)
        assert largest([added]) < 1e-4


@pytest.mark.parametrize("basis", ["keep", "rotate"])
def test_nothing_is_left_of_c_when_all_are_forgotten(basis):
    """Through changes of basis too, in which a part gets directions beyond r_k."""
    federation = Federation([1, 2, 3], random_state(3), basis)
    for number in range(1, 5):
        gradients = [gradient(r, 10 * number + r) for r in federation.ranks]
        federation.round(gradients, new=random_state(3, seed=number))
    before = federation.control().named_tensors()
    assert largest([before]) > 0.1
    for node in range(3):
        federation.server.forget(node)
    after = federation.control().named_tensors()
    assert largest([after]) < 1e-5 * largest([before])


def test_what_is_saved_is_of_those_that_may_come_back():
    federation = Federation([3, 3], random_state(3), normalisation="all")
    federation.round([gradient(3, 1), gradient(3, 2)])
    saved, taken = federation.server.saved({1: "one"})
    again, factors = ControlVariates(normalisation="all"), federation.adapter.factors
    again.begin(federation.adapter)
    again.load(saved, taken, {"one": 7})
    one = [Holder(7, 3, 10)]
    for name, value in again.broadcast(one, factors).named_tensors().items():
        assert torch.allclose(value, gradient(3, 2)[name], atol=1e-6)
    again.forget(7)
    assert not largest([again.broadcast(one, factors).named_tensors()])
