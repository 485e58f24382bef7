"""Rounds that end at a deadline: what is finished, what it counts, who does what."""

import random
import statistics

import pytest
import torch

from ilora_app import wire
from ilora_app.federation.deadlines import Deadlines, Speed, expected_steps
from ilora_app.lora.factors import AdapterState
from ilora_app.methods import METHODS
from ilora_app.methods.fedit import FedIT
from ilora_app.methods.flora import FLoRA
from ilora_app.methods.state import Share, weights_of
from ilora_app.settings.deadline import finished_at
from tests.builders import of_each, random_state, update
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run

SPEEDS = {"simulated-speeds": "0.001,0.002,0.01"}
JOB = {**SPEEDS, "round-deadline": 0.1, "num-server-rounds": 3, "local-steps": 4}
FEDERATED = [n for n, m in METHODS.items() if m.drifts and not m.whole_model]


def test_the_expected_steps_are_those_of_the_model():
    draw = random.Random(1)
    for seconds, part in ((3.2, 0.4), (3.2, 1.0), (0.5, 0.6)):
        found = []
        for _ in range(20_000):
            times = [draw.gauss(1.0, 0.3) for _ in range(5)]
            ends = [sum(times[:i]) + part * times[i] for i in range(5)]
            found.append(sum(end <= seconds for end in ends))
        expected = expected_steps(seconds, 5, 1.0, 0.3, part)
        assert statistics.fmean(found) == pytest.approx(expected, abs=0.05)
    assert expected_steps(2.5, 5, 1.0, 0.0, 0.5) == 3.0


@pytest.mark.slow
@pytest.mark.parametrize("method", [FedIT(), FLoRA()], ids=["fedit", "flora"])
def test_the_layer_wise_mean_is_unbiased(method):
    """One step, random times: the mean over many rounds is that of waiting for all."""
    received = random_state(3, seed=0)
    ends = {node: random_state(3, seed=node) for node in (1, 2, 3)}
    if isinstance(method, FLoRA):
        zero = {n: torch.zeros_like(v) for n, v in received.named_tensors().items()}
        received = AdapterState.from_named_tensors(zero)
    p = dict(zip(ends, (0.2, 0.3, 0.5), strict=True))
    speeds = {1: Speed(0.5, 0.1), 2: Speed(0.9, 0.2), 3: Speed(1.3, 0.4)}
    deadlines = Deadlines(1.0, 0.0, 1, 1)
    deadlines._speeds = dict(speeds)
    names = [*received.factors.pairs, "head"]
    sums, plain = {}, {}
    draw, rounds = random.Random(2), 3000
    wanted = dict.fromkeys(names, 0.0)
    for node, end in ends.items():
        for module, (B, A) in end.factors.items():
            start = 0.0 if isinstance(method, FLoRA) else received.factors[module][0]
            change = B @ A if isinstance(method, FLoRA) else B - start
            wanted[module] = wanted[module] + p[node] * change
    for _ in range(rounds):
        deadlines.begin_round(1, 1, list(ends))
        updates = []
        for node, end in ends.items():
            done = {}
            took = draw.gauss(speeds[node].mean, speeds[node].spread)
            for layer, part in zip(names, finished_at(len(names)), strict=True):
                done[layer] = float(part * took <= 1.0)
            flat = {
                name: value
                if done["head" if name.startswith("head.") else name.rsplit(".", 1)[0]]
                else received.named_tensors()[name]
                for name, value in end.named_tensors().items()
            }
            one = update(
                node,
                AdapterState.from_named_tensors(flat),
                Share(received),
                examples=10 * p[node],
            )
            updates.append(
                one.__class__(**{**vars(one), "node": node, "progress": done})
            )
        for into, some in ((sums, deadlines.weigh(method, updates)), (plain, updates)):
            weights = weights_of(some)
            for one, w in zip(some, weights, strict=True):
                for module, (B, A) in one.adapter.factors.items():
                    change = B @ A
                    if not isinstance(method, FLoRA):
                        change = B - received.factors[module][0]
                    into[module] = into.get(module, 0.0) + w * change / rounds
    for module in received.factors.pairs:
        size = float(wanted[module].norm())
        assert float((sums[module] - wanted[module]).norm()) < 0.06 * size
        assert float((plain[module] - wanted[module]).norm()) > 0.15 * size


def test_slower_nodes_take_smaller_batches_and_the_budget_is_kept():
    deadlines = Deadlines(0.0, 30.0, 5, 16)
    deadlines.begin_round(1, 3, [1, 2])
    assert deadlines.task(1).seconds == 10.0  # a third
    assert deadlines.task(1).batch_size == deadlines.task(2).batch_size == 16
    deadlines._speeds = {1: Speed(0.01, 0.0), 2: Speed(0.5, 0.0)}
    deadlines.spent = 10.0
    deadlines.begin_round(2, 3, [1, 2])
    assert deadlines.task(2).seconds == 10.0
    assert (deadlines.task(1).batch_size, deadlines.task(2).batch_size) == (16, 3)
    deadlines.begin_round(2, 3, [1])  # nobody needs so long
    assert deadlines.task(1).seconds == pytest.approx(5 * 16 * 0.01 / 0.9)


@pytest.mark.parametrize("name", of_each(FEDERATED))
def test_every_strategy_with_nodes_of_unequal_speed(run_config, name):
    apart = {"fraction-evaluate": 0.0, "save-adapters": False}  # not by the deadline
    folder, grid, server = run(run_config | JOB | apart | {"strategy": name})
    assert not read_events(folder, "reply-left-out")
    assert list(metrics(folder)["clients"].iloc[1:]) == [3, 3, 3]
    configs = [m.content.config_records.get("config", {}) for m in grid.sent]
    last = [c for c in configs if wire.DEADLINE in c and c[wire.ROUND] == 3]
    sizes = sorted(config[wire.BATCH_SIZE] for config in last)
    assert 1 <= sizes[0] < sizes[1] < sizes[2] == 16
    if not server.strategy.method.personal:
        model = server.strategy.global_model(None).named_tensors()
        assert all(value.isfinite().all() for value in model.values())
    assert metrics(folder, times=True)["seconds_client_longest"].iloc[1:].max() <= 0.1


def test_without_haste_it_is_as_if_there_were_no_deadline(run_config, tmp_path):
    job = run_config | {"num-server-rounds": 2, "local-steps": 3}
    job["drift-correction"] = "none"  # as auto is with a deadline
    plain = run(job)[0]
    late = {**SPEEDS, "round-deadline": 1e6, "output-dir": str(tmp_path / "late")}
    tables = [metrics(folder) for folder in (plain, run(job | late)[0])]
    for column in ("accuracy", "loss", "train_loss", "drift"):
        assert list(tables[0][column]) == pytest.approx(
            list(tables[1][column]), abs=0, nan_ok=True
        )


def test_by_the_clock_a_run_ends_in_time(run_config):
    job = {"round-deadline": 0.05, "num-server-rounds": 2, "local-steps": 500}
    folder = run(run_config | job)[0]
    assert metrics(folder, times=True)["seconds_client_longest"].iloc[1:].max() < 1.0


@pytest.mark.slow
def test_a_run_that_is_gone_on_with_ends_the_same(run_config, tmp_path):
    job = run_config | JOB | {"round-deadline": 0.0, "time-budget": 0.3}
    whole = run(job | {"output-dir": str(tmp_path / "whole")})[0]
    folder = interrupted(job)
    assert resumed(job).folder.path == folder
    assert_same(whole, folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v + 100, "expected a whole number from 0 to 4"),
        (lambda v: v + 0.5, "expected a whole number from 0 to 4"),
        (lambda v: v - 100, "expected a whole number from 0 to 4"),
        (lambda v: v.expand(2), "expected float32"),
    ],
)
def test_progress_that_cannot_be_leaves_the_reply_out(run_config, change, reason):
    def tamper(reply):
        if wire.PROGRESS in reply.content and reply.metadata.src_node_id == 2:
            found = wire.decode_tensors(reply.content[wire.PROGRESS])
            name = next(iter(found))
            found[name] = change(found[name]).contiguous()
            reply.content[wire.PROGRESS] = wire.encode_tensors(found)
        return reply

    folder, _, _ = run(run_config | JOB | {"num-server-rounds": 1}, tamper=tamper)
    (event,) = read_events(folder, "reply-left-out")
    assert event["node"] == 2
    assert reason in event["reason"]


@pytest.mark.parametrize(
    ("name", "value"), [(wire.SPEED, 1e-320), (wire.SPREAD, 5e-324), (wire.SPEED, 1e30)]
)
def test_a_speed_that_cannot_be_ends_no_run(run_config, name, value):
    def tamper(reply):
        if wire.PROGRESS in reply.content and reply.metadata.src_node_id == 2:
            reply.content[wire.METRICS][name] = value
            reply.content[wire.METRICS][wire.SECONDS] = 1e20
        return reply

    job = run_config | JOB | {"round-deadline": 0.0, "time-budget": 0.3}
    folder, _, server = run(job, tamper=tamper)
    assert list(metrics(folder)["clients"].iloc[1:])[-1] >= 2
    assert server.strategy.deadlines.spent <= 0.3 + 1e-9


def test_a_late_node_and_lost_replies(run_config):
    """Node 3 comes after round 1, and the second reply of node 1 gets lost."""
    seen = []

    def tamper(reply):
        if wire.PROGRESS in reply.content and reply.metadata.src_node_id == 1:
            seen.append(reply)
            if len(seen) == 2:
                return None
        return reply

    job = run_config | JOB | {"num-server-rounds": 4, "min-available-nodes": 2}
    folder, _, server = run(job, tamper=tamper, arrivals={3: 4})
    counts = list(metrics(folder)["clients"].iloc[1:])
    assert counts[0] == 2  # without the late one
    assert 3 in counts
    assert min(counts) >= 1
    assert len(seen) == 4
    assert set(server.strategy.deadlines._speeds) == {1, 2, 3}
