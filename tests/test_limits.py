"""Limits on replies: norms, counts, and how many there must be."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Message, MessageType, MetricRecord

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.federation.limits import Limits, update_norm
from ilora_app.federation.waiting import UntrainedError
from ilora_app.methods import METHODS
from ilora_app.methods.state import Share
from ilora_app.server import preflight
from ilora_app.settings.parsing import ConfigError
from tests.builders import of_each, random_state, update
from tests.conftest import read_events
from tests.controlled import control_of
from tests.local_run import metrics, run
from tests.oracles import Row, mean_and_cross_terms
from tests.packets import bytes_of, change, closed, raw
from tests.quadratic import Problem
from tests.test_faults import BAD, on_training
from tests.toy import Toy


def dense_norm(received, returned, scaling: float) -> float:
    squared = 0.0
    for module, (B, A) in returned.factors.items():
        B0, A0 = received.factors[module]
        change = B.double() @ A.double() - B0.double() @ A0.double()
        squared += scaling**2 * float(change.square().sum())
    for name, value in returned.head.items():
        squared += float((value - received.head[name]).double().square().sum())
    return squared**0.5


@pytest.mark.parametrize("rank", [3, 2])
def test_the_norm_is_that_of_the_dense_change(rank):
    """Rank 2 is that of a client which has pruned its own."""
    received, returned = random_state(3, seed=1), random_state(3, seed=2).cut(rank)
    found = update_norm(update(0, returned, Share(received)), 1.7)
    assert found == pytest.approx(dense_norm(received, returned, 1.7), rel=1e-9)
    assert update_norm(update(0, received, Share(received)), 1.7) < 1e-5


def test_without_products_it_is_that_of_what_came_back():
    received, returned = random_state(3, seed=1), random_state(3, seed=2)
    flat = [state.named_tensors() for state in (received, returned)]
    squared = sum((flat[1][n] - flat[0][n]).double().square().sum() for n in flat[0])
    found = update_norm(update(0, returned, Share(received)), None)
    assert found == pytest.approx(float(squared) ** 0.5, rel=1e-6)


def test_a_limit_is_that_of_the_norm():
    received, returned = random_state(3, seed=1), random_state(3, seed=2)
    norm = dense_norm(received, returned, 2.0)
    one = update(0, returned, Share(received))
    Limits(max_update_norm=norm * 1.001).check(one, 2.0)
    Limits(max_update_norm=0).check(one, 2.0)
    with pytest.raises(wire.WireError, match=r"norm .*, max-update-norm is"):
        Limits(max_update_norm=norm * 0.999).check(one, 2.0)


def huge(reply: Message) -> Message:
    large = np.float32(1e4), np.float32(1)
    change(
        reply.content,
        wire.ARRAYS,
        lambda found: {n: v * large[0] + large[1] for n, v in found.items()},
    )
    return reply


@pytest.mark.parametrize("name", of_each(METHODS))
def test_a_huge_update_is_left_out_under_every_strategy(run_config, name):
    run_config |= {
        "strategy": name, "max-update-norm": 100.0, "test-examples": 40,
        "local-steps": 1, "fraction-evaluate": 0.0, "save-adapters": False,
    }  # fmt: skip
    tamper = on_training(huge)
    if name in ("local", "linear-probe"):
        pytest.skip("its clients return nothing")
    if name == "centralized":  # its one client is another node

        def tamper(reply):
            kind = reply.metadata.message_type
            return huge(reply) if kind == MessageType.TRAIN else reply

    alone = name == "centralized"
    expected = pytest.raises(UntrainedError) if alone else nullcontext()
    with expected:
        run(run_config, tamper=tamper)
    folder = Path(run_config["output-dir"])
    left_out = read_events(folder, "reply-left-out")
    assert [event["round"] for event in left_out] == [1, 2]
    assert all("max-update-norm is 100" in event["reason"] for event in left_out)
    if name == "centralized":
        assert len(read_events(folder, "model-unchanged")) == 2
    else:
        assert list(metrics(folder)["clients"].iloc[1:]) == [2, 2]


def huge_correction(reply: Message) -> Message:
    change(
        reply.content,
        wire.CORRECTION,
        lambda found: {n: np.full_like(v, 1e30) for n, v in found.items()},
    )
    return reply


def test_a_huge_control_variate_does_not_reach_the_mean(run_config):
    run_config |= {"max-correction-norm": 1e3, "test-examples": 40}
    folder, _, server = run(run_config, tamper=on_training(huge_correction))
    left_out = read_events(folder, "reply-left-out")
    assert [event["round"] for event in left_out] == [1, 2]
    assert all("max-correction-norm is 1000" in event["reason"] for event in left_out)
    control = control_of(server.strategy)
    assert all(t.abs().max() < 1e3 for t in control.values())


def test_the_norm_of_a_correction_is_that_of_all_its_tensors():
    received = random_state(3, seed=1)
    delta = random_state(3, seed=2).named_tensors()
    one = replace(update(0, received, Share(received)), correction=delta)
    norm = sum(t.double().square().sum() for t in delta.values()) ** 0.5
    Limits(max_correction_norm=float(norm) * 1.001).check(one, 2.0)
    with pytest.raises(wire.WireError, match=r"control variate has norm .*, max-corr"):
        Limits(max_correction_norm=float(norm) * 0.999).check(one, 2.0)


def test_a_limit_on_what_nobody_sends_is_refused(run_config):
    run_config |= {"strategy": "fedit", "max-correction-norm": 1.0}
    with pytest.raises(ConfigError, match="drift-correction is not control-variates"):
        preflight.prepare(run_config)


def test_a_client_counts_for_max_examples_at_most(run_config, tmp_path):
    """With a limit below every count all clients weigh the same."""
    weights = {}
    for limit in (0, 20):
        run_config |= {
            "max-examples": limit, "output-dir": str(tmp_path / f"limit-{limit}"),
            "num-server-rounds": 1, "strategy": "fedit",
        }  # fmt: skip
        folder, _, server = run(run_config)
        assert not read_events(folder, "reply-left-out")
        weights[limit] = server.strategy.state.adapter.head
        counts = [member.examples for member in server.membership.members]
    assert min(counts) > 20
    assert len(set(counts)) > 1
    assert any(not weights[0][n].equal(weights[20][n]) for n in weights[0])


def test_a_count_below_the_limit_stays():
    assert Limits(max_examples=20).examples(19) == 19
    assert Limits(max_examples=20).examples(1e9) == 20
    assert Limits().examples(1e9) == 1e9


def test_a_round_of_too_few_replies_leaves_the_model(run_config):
    """And the control variates of the server and of the clients stay with it."""

    def tamper(reply: Message) -> Message | None:
        record = reply.content.get(wire.METRICS) if reply.has_content() else None
        lost = record is not None and reply.metadata.src_node_id == BAD
        lost = lost and reply.metadata.message_type == MessageType.TRAIN
        tamper.rounds += lost
        return None if lost and tamper.rounds == 2 else reply

    tamper.rounds = 0
    folder, _, server = run(
        run_config | {"num-server-rounds": 3, "min-replies": 3}, tamper=tamper
    )
    (event,) = read_events(folder, "model-unchanged")
    assert (event["round"], event["reason"]) == (
        2,
        "usable replies: 2, min-replies is 3",
    )
    loss = metrics(folder)["loss"]
    assert loss[2] == loss[1]
    assert loss[3] < loss[2]
    taken = [server.strategy.drift_correction.last_taken(n) for n in (1, 2, 3)]
    assert taken == [3, 3, 3]


def test_ten_thousand_names_are_refused_at_once_and_in_few_words():
    expected = {"a": torch.zeros(2)}
    value = np.zeros(2, np.float32)
    more = {f"{i}" + "x" * 100 + "\x1b[31m": value for i in range(10_000)}
    record = closed({"a": value, **more})
    clock = time.perf_counter()
    with pytest.raises(wire.WireError) as caught:
        wire.decode_checked(record, expected, "arrays")
    assert time.perf_counter() - clock < 1
    text = str(caught.value)
    assert "10000 unknown" in text
    assert len(text) < 600
    assert "\x1b" not in text


def test_more_bytes_than_an_array_can_have_are_not_read():
    record = raw(bytes_of(closed({"a": np.zeros(2, np.float32)})) + bytes(10_000))
    with pytest.raises(wire.WireError, match=r"comes in 10008 bytes, expected 8"):
        wire.decode_checked(record, {"a": torch.zeros(2)}, "arrays")


def test_what_a_node_says_is_cut(run_config):
    def tamper(reply: Message) -> Message:
        reply.content[wire.METRICS] = MetricRecord({wire.EXAMPLES: [1] * 100_000})
        return reply

    folder, _, _ = run(
        run_config | {"num-server-rounds": 1}, tamper=on_training(tamper)
    )
    (event,) = read_events(folder, "reply-left-out")
    assert len(event["reason"]) < 600


def test_a_client_counts_for_no_more_in_c_either():
    """Two of ten examples and one that says ten thousand weigh the same in c."""
    made = {"drift_correction": ControlVariates(), "limits": Limits(max_examples=10)}
    row = Row("fedit", mean_and_cross_terms)
    run = Toy(row.make(**made), Problem((2, 2, 2), (10, 10_000, 10)))
    taken = run.round()
    own = [
        wire.decode_tensors(run.grid.replied[t.node].content[wire.CORRECTION])
        for t in taken
    ]
    run.round()
    for t in taken:
        sent = wire.decode_tensors(run.grid.asked[t.node].content[wire.CORRECTION])
        for name, value in sent.items():
            mean = sum(c_k[name] for c_k in own) / 3
            torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-5)
