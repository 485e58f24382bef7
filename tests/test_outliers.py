"""Limits relative to a round: no client moves the model much farther than most."""

from dataclasses import replace

import pytest
import torch
from flwr.app import Message, MessageType

from ilora_app import wire
from ilora_app.corrections.shapes import norm
from ilora_app.federation.limits import (
    Limits,
    begun,
    change_norms,
    update_norm,
)
from ilora_app.federation.outliers import FAR, hold, shrink
from ilora_app.lora.factors import AdapterState
from ilora_app.methods.state import Share
from tests.builders import random_state, update
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.test_faults import BAD
from tests.test_limits import dense_norm

SCALING = 1.7


def moved(received: AdapterState, by: float, seed: int) -> AdapterState:
    """Somewhere else, so far away."""
    towards = random_state(3, seed=seed).named_tensors()
    return AdapterState.from_named_tensors(
        {n: v + by * towards[n] for n, v in received.named_tensors().items()}
    )


def clients(sizes, received=None):
    received = received or random_state(3, seed=99)
    return [
        update(k, moved(received, size, k), Share(received))
        for k, size in enumerate(sizes)
    ]


@pytest.mark.parametrize("scaling", [SCALING, None])
@pytest.mark.parametrize("size", [0.01, 1.0, 1e4, 1e15, 1e30])
def test_what_is_shrunk_has_the_norm_asked_for_and_goes_the_same_way(size, scaling):
    [one] = clients([size])
    before = one.received.adapter.named_tensors()
    norm = 0.3 * update_norm(one, scaling) if size < 1e4 else 0.5
    found = shrink(one, scaling, norm)
    # Where the factors moved far, what float32 keeps of the rest is all the error.
    assert update_norm(found, scaling) == pytest.approx(norm, rel=1e-2)
    parts = []
    for name, value in found.adapter.named_tensors().items():
        way = one.adapter.named_tensors()[name].double() - before[name].double()
        gone = value.double() - before[name].double()
        parts.append(float((gone * way).sum() / way.square().sum()))
    assert parts == pytest.approx([parts[0]] * len(parts), rel=1e-2)
    assert 0 < parts[0] < 1


@pytest.mark.parametrize("scaling", [SCALING, None])
def test_a_head_alone_is_shrunk_to_the_norm(scaling):
    received = random_state(3, seed=1)
    far = {n: v + 100.0 for n, v in received.head.items()}
    one = update(0, AdapterState(received.factors, far), Share(received))
    assert update_norm(shrink(one, scaling, 2.0), scaling) == pytest.approx(2, rel=1e-4)


def test_of_a_smaller_rank_it_starts_from_the_part_that_it_received():
    received, returned = random_state(3, seed=1), random_state(3, seed=2).cut(2)
    one = update(0, returned, Share(received))
    found = shrink(one, SCALING, 0.5)
    assert found.adapter.factors.rank == 2
    start = update(0, received.cut(2), Share(received))
    assert update_norm(start, SCALING) > 0.5  # pruning alone is more than the limit


def test_clients_that_have_pruned_their_rank_are_measured():
    received = random_state(3, seed=1)
    pruned = [
        update(k, moved(received, 0.1, k).cut(1 + k % 3), Share(received))
        for k in range(5)
    ]
    kept, out, _ = hold(pruned, SCALING, 100.0)
    assert [u.adapter.factors.rank for u in kept] == [1, 2, 3, 1, 2]
    assert not out
    assert update_norm(pruned[0], None) == pytest.approx(
        update_norm(replace(pruned[0], received=Share(received.cut(1))), None)
    )


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e15, 1e30])
def test_both_norms_of_many_are_those_of_each_in_one_pass(size):
    """Of two ranks and of clients that have pruned theirs; nothing moved is 0."""
    starts = {rank: random_state(rank, seed=rank) for rank in (4, 3)}
    some = []
    for k, (sent, returned) in enumerate([(4, 4), (4, 2), (3, 3), (4, 4), (3, 1)]):
        start, way = starts[sent], random_state(returned, seed=10 + k)
        before, towards = start.cut(returned).named_tensors(), way.named_tensors()
        flat = {n: v + size * towards[n] for n, v in before.items()}
        end = AdapterState.from_named_tensors(flat)
        one = update(k, end, Share(start))
        some.append(replace(one, rank=sent))
    products, tensors = change_norms(some, 1.7)
    for one, product, moved in zip(some, products, tensors, strict=True):
        dense = dense_norm(one.received.adapter, one.adapter, 1.7)
        assert product == pytest.approx(dense, rel=1e-9, abs=1e-5)
        old, new = begun(one).named_tensors(), one.adapter.named_tensors()
        each = sum(
            (v.double() - old[n].double()).square().sum() for n, v in new.items()
        )
        assert moved == pytest.approx(float(each) ** 0.5, rel=1e-6)
        assert bool(moved) is bool(size)


def test_who_is_like_the_others_is_not_touched():
    honest = clients([0.1, 0.12, 0.09, 0.2, 0.05])
    kept, out, shrunk = hold(honest, SCALING, 3.0)
    assert (out, shrunk) == ([], [])
    assert all(a is b for a, b in zip(kept, honest, strict=True))


def test_one_of_five_is_taken_in_part_and_named():
    honest = clients([0.1, 0.12, 0.09, 0.1, 1.0])
    norms = sorted(update_norm(u, SCALING) for u in honest)
    kept, out, shrunk = hold(honest, SCALING, 3.0)
    assert not out
    [(node, why)] = shrunk
    assert node == honest[4].node
    assert "times the median of the round; max-norm-ratio is 3" in why
    assert norms[2] < update_norm(kept[4], SCALING) < 3.001 * norms[2]
    assert update_norm(kept[4], None) < 3.001 * update_norm(honest[0], None) * 1.2
    assert all(a is b for a, b in zip(kept[:4], honest[:4], strict=True))


@pytest.mark.parametrize("size", [1e4, 1e15, 1e30])
def test_far_beyond_nothing_is_taken(size):
    kept, out, shrunk = hold(clients([0.1, 0.12, size, 0.1]), SCALING, 3.0)
    assert [u.node for u in kept] == [100, 101, 103]
    assert [node for node, _ in out] == [102]
    assert not shrunk


def test_a_large_a_does_not_hide_behind_a_small_b():
    honest = clients([0.1, 0.12, 0.09, 0.1])
    flat = honest[3].adapter.named_tensors()
    hidden = {n: v * 1e3 if "lora_A" in n else v for n, v in flat.items()}
    hidden = {n: v / 1e3 if "lora_B" in n else v for n, v in hidden.items()}
    honest[3] = replace(honest[3], adapter=AdapterState.from_named_tensors(hidden))
    _, out, shrunk = hold(honest, SCALING, 3.0)
    assert [node for node, _ in out + shrunk] == [honest[3].node]


def test_just_inside_and_just_outside_far_beyond():
    honest = [replace(u, correction={"c": torch.ones(4)}) for u in clients([0.1] * 4)]
    for times, left_out in ((0.99, False), (1.01, True)):
        far = times * FAR * 3.0
        honest[3] = replace(honest[3], correction={"c": far * torch.ones(4)})
        kept, out, _ = hold(honest, SCALING, 3.0)
        assert bool(out) is left_out
        if not left_out:
            assert norm(kept[3].correction) == pytest.approx(6.0, rel=1e-6)


def test_two_clients_or_none_that_moves_say_nothing_of_each_other():
    two = clients([0.1, 100.0])
    assert hold(two, SCALING, 3.0) == (two, [], [])
    still = clients([0.0, 0.0, 0.0, 1.0])
    assert hold(still, SCALING, 3.0) == (still, [], [])
    many = clients([0.1, 0.1, 0.1, 100.0])
    assert hold(many, SCALING, 0.0) == (many, [], [])


@pytest.mark.parametrize("honest", [[0.1], [0.1, 0.12]])
def test_where_most_change_nothing_the_others_are_held_against_each_other(honest):
    still = [0.0] * (len(honest) + 2)
    kept, out, _ = hold(clients([*still, *honest, 1e4]), SCALING, 3.0)
    assert [node for node, _ in out] == [100 + len(still) + len(honest)]
    assert len(kept) == len(still) + len(honest)
    _, out, shrunk = hold(clients([*still, *honest, 0.11]), SCALING, 3.0)
    assert (out, shrunk) == ([], [])


def test_no_client_counts_for_many_times_the_median():
    limits = Limits(max_examples_ratio=10.0)
    assert limits.beside([100, 90, 110, 2**62]).examples(2**62) == 1050
    assert limits.beside([100, 90, 110, 400]).examples(400) == 400
    both = Limits(max_examples_ratio=10.0, max_examples=50)
    assert both.beside([100, 90, 110]).examples(1e9) == 50
    assert Limits().beside([1, 2, 2**62]).examples(2**62) == 2**62


def lying(value: float, record: str):
    """Have a node return one value everywhere."""

    def lie(reply: Message) -> Message:
        trained = reply.metadata.message_type == MessageType.TRAIN
        if trained and reply.metadata.src_node_id == BAD and record in reply.content:
            held = wire.decode_tensors(reply.content[record])
            far = {n: torch.full_like(v, value) for n, v in held.items()}
            reply.content[record] = wire.encode_tensors(far)
        return reply

    return lie


@pytest.mark.slow
@pytest.mark.parametrize("value", [10.0, 1e5, 1e15, 1e30])
@pytest.mark.parametrize("record", [wire.ARRAYS, wire.CORRECTION])
@pytest.mark.parametrize("strategy", ["ilora", "fedit"])
def test_values_far_away_ruin_nothing_by_default(run_config, value, record, strategy):
    config = run_config | {
        "strategy": strategy,
        "drift-correction": "control-variates",
        "num-server-rounds": 3,
    }
    folder, _, server = run(config, nodes=5, tamper=lying(value, record))
    rows = metrics(folder)
    assert list(rows["clients"][1:]) == [4, 4, 4] or value == 10.0
    named = {
        event["node"]
        for kind in ("reply-left-out", "update-shrunk")
        for event in read_events(folder, kind)
    }
    assert named == {BAD}
    norms = [
        float(v.norm()) for v in server.strategy.global_model().named_tensors().values()
    ]
    assert max(norms) < 100


def test_a_node_with_a_huge_rank_does_not_make_everybodys_larger(run_config, caplog):
    config = run_config | {"client-ranks": "2,4", "max-rank": 6}
    folder, _, server = run(config, node_configs={1: {"lora-rank": 30}})
    assert sorted(member.rank for member in server.membership.members) == [2, 2, 6]
    assert server.strategy.state.adapter.factors.rank == 6
    assert "it trains at 6, the largest rank of this run" in caplog.text
    assert not read_events(folder, "reply-left-out")
