"""Runs in which nodes hide their single rows, through the whole app."""

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from ilora_app.federation.waiting import FederationError
from ilora_app.report import page as report
from ilora_app.runs import writing
from ilora_app.tasks import record_training
from tests.conftest import read_events
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow

HIDDEN = {
    "dp": "record",
    "dp-noise-multiplier": 1.5,
    "dp-delta": 0.001,
    "dp-clip": 0.1,
    "client-ranks": "2,4",
    "batch-size": 8,
    "local-steps": 3,
    "num-server-rounds": 2,
}


@pytest.fixture
def config(run_config, tmp_path, monkeypatch) -> Callable[..., dict[str, Any]]:
    numbers = itertools.count()
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "nodes"))

    def made(**keys: Any) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        where = str(tmp_path / f"run-{next(numbers)}")
        kept = {k: v for k, v in run_config.items() if k != "drift-correction"}
        return kept | HIDDEN | {"output-dir": where} | named

    return made


def accounts(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "nodes").glob("*/*/account.json"))


def account_of(z: float, steps: int, rows: int, delta: float = 0.001) -> float:
    """The number of dp-accounting by itself."""
    account = RdpAccountant()
    event = PoissonSampledDpEvent(8 / rows, GaussianDpEvent(z))
    account.compose(event, steps)
    return account.get_epsilon(delta)


@pytest.mark.parametrize("strategy", ["ilora", "fedit", "flora", "fedsa-lora"])
def test_a_run_says_what_it_costs_and_nothing_else_of_rows(config, strategy):
    if strategy == "fedsa-lora":
        with pytest.raises(Exception, match="models of their own"):
            run(config(strategy=strategy), nodes=2)
        return
    folder, _, server = run(config(strategy=strategy), nodes=3)
    table = metrics(folder)
    rows = [member.examples for member in server.membership.members]
    for done in (1, 2):
        worst = max(account_of(1.5, 3 * done, int(n)) for n in rows)
        assert table["epsilon"][done] == pytest.approx(worst, rel=1e-6)
    said = [c for c in table if c.startswith(("client_", "held_out", "train_loss"))]
    assert not said
    assert all(member.held_out == 0 for member in server.membership.members)
    [event] = read_events(folder, "private")
    assert event["noise_multiplier"] == 1.5
    assert 'aria-label="Privacy spent"' in report.write(folder).read_text()


def test_each_node_finds_the_noise_of_its_budget(config, tmp_path):
    keys = config(dp_noise_multiplier=0.0, dp_target_epsilon=4.0)
    folder, _, server = run(keys, nodes=3)
    assert 3.8 < metrics(folder)["epsilon"].tolist()[-1] <= 4.0
    noises = set()
    for file in accounts(tmp_path):
        [[z, rate, steps]] = json.loads(file.read_text())
        assert steps == 6
        assert 3.9 < account_of(z, steps, round(8 / rate)) <= 4.0
        noises.add(z)
    assert len(noises) == len({m.examples for m in server.membership.members})


def test_nodes_stop_before_they_exceed_it(config, tmp_path):
    keys = config(dp_noise_multiplier=0.0, dp_target_epsilon=4.0)
    folder, _, server = run(keys, nodes=3)
    before = metrics(folder)["epsilon"].tolist()
    model = server.strategy.global_model().named_tensors()
    more = keys | {"resume": str(folder), "num-server-rounds": 3}
    resumed, _, server = run(more, nodes=3)
    assert metrics(resumed)["epsilon"].tolist()[1:3] == before[1:]
    reasons = [e["reason"] for e in read_events(resumed, "reply-left-out")]
    assert len(reasons) == 3
    assert all("another round would cost this node" in text for text in reasons)
    after = server.strategy.global_model().named_tensors()
    assert all(value.equal(model[name]) for name, value in after.items())


def test_what_a_round_that_is_run_again_has_cost_stays_spent(config, tmp_path):
    """The node's state goes back to the last whole round, and its account does not."""
    keys = config(num_server_rounds=1)
    folder, _, _ = run(keys, nodes=2)
    for file in accounts(tmp_path):
        [[z, rate, steps]] = json.loads(file.read_text())
        file.write_text(json.dumps([[z, rate, steps + 30]]))
    resumed, _, _ = run(keys | {"resume": str(folder), "num-server-rounds": 2}, nodes=2)
    for file in accounts(tmp_path):
        [[_, _, steps]] = json.loads(file.read_text())
        assert steps == 36
    assert metrics(resumed)["epsilon"].tolist()[-1] > 2 * account_of(1.5, 6, 200)


def test_an_account_that_cannot_be_read_is_no_empty_one(config, tmp_path):
    keys = config(num_server_rounds=1)
    folder, _, _ = run(keys, nodes=2)
    for file in accounts(tmp_path):
        file.write_text("[[1.0")
    resumed, _, _ = run(keys | {"resume": str(folder), "num-server-rounds": 2}, nodes=2)
    events = read_events(resumed, "reply-left-out")
    assert len(events) == 2
    for event in events:
        assert "cannot read what it has spent" in event["reason"]
        assert str(tmp_path) not in event["reason"]


def test_a_node_that_has_lost_its_account_trains_no_more(config, tmp_path):
    """Not one that comes late, of which no reply has been used yet."""
    keys = config(num_server_rounds=1)
    folder, _, _ = run(keys, nodes=3, arrivals={3: 99})
    for file in accounts(tmp_path):
        shutil.rmtree(file.parent)
    resumed, _, _ = run(keys | {"resume": str(folder), "num-server-rounds": 2}, nodes=3)
    reasons = [e["reason"] for e in read_events(resumed, "reply-left-out")]
    assert len(reasons) == 2
    assert all("holds no account of what that cost" in reason for reason in reasons)
    assert metrics(resumed)["clients"].tolist()[-1] == 1


def test_too_few_rows_for_delta(config):
    with pytest.raises(FederationError, match=r"one over the \d+ rows of this node"):
        run(config(dp_delta=0.1), nodes=2)


def test_what_a_round_costs_is_on_the_disk_before_it_trains(config, monkeypatch):
    """Flushed, so that no loss of power gives a node back what it has spent."""
    order: list[str] = []

    def watched(owner: Any, name: str, told: Callable[..., str]) -> None:
        call = getattr(owner, name)

        def watching(*args: Any, **more: Any) -> Any:
            order.append(told(*args))
            return call(*args, **more)

        monkeypatch.setattr(owner, name, watching)

    watched(writing, "flush", lambda path: re.sub("-[0-9a-f]{8}", "", path.name))
    watched(record_training, "train", lambda *_: "trains")
    run(config(num_server_rounds=1), nodes=2)
    kept = [what for what in order if "account" in what or what == "trains"]
    assert kept == [".account.json.tmp", "trains"] * 2
    assert order.index(".account.json.tmp") + 2 == order.index("trains")  # its folder
