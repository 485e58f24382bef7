"""Corrections that send something, under every strategy that they make sense with."""

from typing import Any

import pytest
import torch

from ilora_app import wire
from ilora_app.corrections import server_half
from ilora_app.methods import find
from ilora_app.settings import MethodSettings
from tests.local_run import metrics, run
from tests.oracles import TABLE, Row
from tests.quadratic import HEAD, Problem, weights
from tests.toy import Toy

pytestmark = pytest.mark.slow

ALL = ("fedadamw", "fedlada", "fedsmoo", "fedglomo", "second-moments")
# One of every kind: basis turned, kept, begun anew; a factor alone; pruned; whole.
WHOLE = ("ilora", "fedit", "flora", "fedsa-lora", "hetlora", "fedavg-full", "fedgalore")
RANKS, EXAMPLES = (1, 2, 4, 3), (10, 70, 20, 40)


def half(name: str, row: Row) -> Any:
    method = type(row.make().method)
    settings = MethodSettings(drift_correction=name)
    scope = "all" if "all" in method.control_scopes else "head"
    return server_half(settings, scope, method.turns_basis(), method.projects)


def by_entry(toy: Toy) -> bool:
    method = type(toy.strategy.method)
    return method.keeps_basis() or method.projects


def fits(name: str, row: Row) -> bool:
    method = type(row.make().method)
    needs = name in ("fedsmoo", "fedglomo")
    if (name == "fedglomo" and not method.is_sum()) or (
        name == "fedsmoo" and not method.client_half.returns_all
    ):
        return False
    return method.drifts and (method.keeps_basis() or not needs)


CASES = [(name, row) for name in ALL for row in TABLE if fits(name, row)]


@pytest.mark.parametrize(("name", "row"), CASES, ids=str)
def test_unequal_ranks_a_late_node_and_lost_replies(name: str, row: Row):
    problem = Problem(RANKS, EXAMPLES, rate=0.003)
    found = Toy(row.make(drift_correction=half(name, row)), problem)
    plain = Toy(row.make(), problem)
    for faults in ({"n4": "absent"}, {"n2": "lost"}, {"n1": "crash"}, {}):
        taken = found.round(**faults)
        plain.round(**faults)
        left = [node for node in (1, 2, 3, 4) if f"n{node}" not in faults]
        assert [one.node for one in taken] == left
        assert all(value.isfinite().all() for value in found.model().values())
    assert float((found.model()[HEAD] - plain.model()[HEAD]).norm()) > 1e-6


@pytest.mark.parametrize(("name", "row"), CASES, ids=str)
def test_bytes_are_those_of_the_formula(name: str, row: Row):
    problem = Problem(RANKS, EXAMPLES, rate=0.003)
    toy = Toy(row.make(drift_correction=half(name, row)), problem)
    for number in (1, 2, 3):
        toy.round()
        for node, reply in toy.grid.replied.items():
            sent = toy.grid.asked[node].content
            down = count(sent, wire.CORRECTION)
            up = count(reply.content, wire.CORRECTION)
            names = set(wire.decode_tensors(reply.content[wire.ARRAYS]))
            there = toy.grid.last[node].trained.named_tensors()
            trained = sum(there[name].numel() for name in names)
            tensors = len(names)
            if name == "fedadamw":
                assert up == tensors + 2  # a block mean each, steps, and their rates
            elif name == "fedlada" and type(toy.strategy.method).keeps_basis():
                assert up == trained + 2
            elif name == "second-moments":
                entries = by_entry(toy)
                assert up == (trained if entries else tensors) + 2
                assert down == (trained if entries and number > 1 else 0)
                continue
            elif name == "fedsmoo":
                assert up == trained
            elif name == "fedglomo":
                assert up == (trained if number > 1 else 0)
            if number == 1:
                assert down == 0
            elif "all" in type(toy.strategy.method).control_scopes:
                twice = name == "fedlada" and type(toy.strategy.method).keeps_basis()
                assert down == trained * (2 if twice else 1)


def count(content: Any, name: str) -> int:
    if name not in content:
        return 0
    return sum(v.numel() for v in wire.decode_tensors(content[name]).values())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("strategy", WHOLE)
def test_whole_runs(tiny_config, tmp_path, strategy, name):
    method = find(strategy)
    needs = name in ("fedsmoo", "fedglomo")
    plain = name != "fedglomo" or method.is_sum()
    if not method.drifts or (needs and not method.keeps_basis()) or not plain:
        pytest.skip("refused: see test_validity.py")
    job = {**tiny_config, "strategy": strategy, "drift-correction": name}
    folder, _, server = run({**job, "output-dir": str(tmp_path / "run")})
    table = metrics(folder)
    assert list(table["clients"].iloc[1:]) == [3, 3]
    model = server.strategy.global_model(None).named_tensors()
    assert all(torch.isfinite(value).all() for value in model.values())


def test_the_direction_is_how_far_the_federation_went_for_a_unit_of_rate():
    (row,) = [row for row in TABLE if str(row) == "fedit"]
    problem = Problem(RANKS, EXAMPLES, rate=0.003)
    server = half("fedadamw", row)
    toy = Toy(row.make(drift_correction=server), problem)
    toy.round()
    taken = list(toy.grid.taken.values())
    parts = weights(taken)
    largest = max(RANKS)
    mean = {}
    for one, p in zip(taken, parts, strict=True):
        before = one.start.pad(largest).named_tensors()
        for name, value in one.trained.pad(largest).named_tensors().items():
            mean[name] = mean.get(name, 0.0) + p * (value - before[name])
    found = server.broadcast([], toy.strategy.state.adapter.factors).named_tensors()
    for name, value in mean.items():
        expected = -value / (problem.steps * problem.rate)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
