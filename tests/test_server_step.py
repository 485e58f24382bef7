"""The server's step along factors and along products, for every strategy."""

from dataclasses import replace

import pytest
import torch

from ilora_app.federation.validity import problems
from ilora_app.lora.factors import group_of
from ilora_app.methods import METHODS
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import Share
from ilora_app.settings import Settings
from tests.builders import random_state, update
from tests.oracles import TABLE, Row
from tests.quadratic import Problem
from tests.toy import Toy

RANKS, EXAMPLES = (1, 2, 4, 3), (10, 70, 20, 40)
ETA, BETA = 1.5, 0.3
AVERAGED = [row for row in TABLE if METHODS[row.name].server_step == "factors"]
EXACT = [row for row in TABLE if row.name in ("flora", "fedex-lora")]


def stepping(row: Row, step: ServerStep) -> Toy:
    run = Toy(row.make(), Problem(RANKS, EXAMPLES))
    run.strategy.method.step = step
    return run


@pytest.mark.parametrize("row", AVERAGED, ids=str)
def test_averaged_factors_and_head_take_the_step(row, monkeypatch):
    """A factor that had no turn is as it was, and keeps its velocity."""
    run, means = stepping(row, ServerStep(ETA, BETA)), []
    method = run.strategy.method
    plain = method.aggregate

    def aggregate(state, updates):
        made = plain(state, updates)
        means.append((made.state.adapter.named_tensors(), method.plan(state).up))
        return made

    monkeypatch.setattr(method, "aggregate", aggregate)
    expected = {n: v.double() for n, v in run.state.adapter.named_tensors().items()}
    velocity = {n: torch.zeros_like(v) for n, v in expected.items()}
    for events in ({}, {"n2": "lost"}, {}, {}):
        run.round(**events)
        mean, trained = means[-1]
        for name, value in mean.items():
            if group_of(name) in trained:
                change = ETA * (value.double() - expected[name])
                velocity[name] = change + BETA * velocity[name]
                expected[name] = expected[name] + velocity[name]
        for name, value in run.state.adapter.named_tensors().items():
            torch.testing.assert_close(
                value.double(), expected[name], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize("clients", [4, 17, 25])
def test_auto_goes_no_further_where_nobody_has_changed_anything(clients):
    """What rounding leaves of a change of zero is no direction to follow."""
    found = []
    for seed in range(20):
        whole = random_state(4, seed=seed)
        parts = [whole.cut(1 + k % 4) for k in range(clients)]
        some = [update(k, part, Share(part), 10 + k) for k, part in enumerate(parts)]
        found.append(ServerStep(None).rate_of(some))
    assert found == [1.0] * 20


@pytest.mark.parametrize("row", EXACT, ids=str)
def test_a_ledger_takes_the_step_of_the_whole_model(row):
    run = stepping(row, ServerStep(ETA, BETA))
    path = [{m: torch.zeros(s).double() for m, s in run.problem.shapes.items()}] * 2
    for events in ({}, {"n2": "lost"}, {}, {}):
        run.round(**events)
        mean = row.oracle(run.problem, run.history)
        model = {}
        for m, value in path[-1].items():
            change = mean[m] - value
            model[m] = value + ETA * change + BETA * (value - path[-2][m])
            close = 1e-5 * max(1.0, float(model[m].norm()))
            assert float((run.model()[m] - model[m]).norm()) <= close
        path.append(model)


@pytest.mark.parametrize("row", AVERAGED + EXACT, ids=str)
def test_a_plain_step_changes_no_bit(row):
    one, other = Toy(row.make(), Problem(RANKS, EXAMPLES)), stepping(row, ServerStep())
    for _ in range(2):
        one.round()
        other.round()
    for name, value in one.state.adapter.named_tensors().items():
        assert torch.equal(value, other.state.adapter.named_tensors()[name])
    assert other.state.buffers == {}


@pytest.mark.parametrize("name", METHODS)
def test_who_takes_a_step_and_who_is_refused_one(name):
    chosen = Settings()
    chosen = replace(
        chosen,
        run=replace(chosen.run, strategy=name),
        method=replace(chosen.method, server_rate="1.5", server_momentum=0.5),
    )
    found = problems(chosen)
    refused = {"flexlora", "fedsa-lora", "local", "centralized", "linear-probe"}
    refused |= {"raflora"}
    assert ("server-rate" in found) == ("server-momentum" in found)
    assert ("server-rate" in found) == (name in refused)
    if name == "flexlora":
        assert "aggregate is not increments" in found["server-rate"]


@pytest.mark.parametrize(
    ("name", "model", "word"),
    [("fedit", {"initialisation": "qr"}, "plain means"), ("fedavg-full", {}, "number")],
)
def test_steps_that_make_no_sense_say_why(name, model, word):
    chosen = Settings()
    chosen = replace(
        chosen,
        run=replace(chosen.run, strategy=name),
        model=replace(chosen.model, **model),
        method=replace(chosen.method, server_rate="auto"),
    )
    assert word in problems(chosen)["server-rate"]
