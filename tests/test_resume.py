"""A run that was interrupted ends as one that was not, to the last bit."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas
import pytest
from flwr.app import MessageType

from ilora_app import client_app
from ilora_app.methods import METHODS
from tests.conftest import read_events
from tests.interruptions import assert_same, fresh_grid, interrupted, resumed, start
from tests.local_run import FaultyGrid, files, metrics, run

pytestmark = pytest.mark.slow

MEASURED = [
    "client_accuracy_mean", "client_accuracy_worst", "client_loss_mean",
    "held_out_accuracy", "clients_evaluated",
]  # fmt: skip


def sent(grid, kind: str) -> int:
    return sum(m.metadata.message_type == kind for m in grid.sent)


def cases():
    for name, strategy in METHODS.items():
        yield name, {}
        if strategy.control_scopes and name != "ilora":
            more = {"drift-correction": "control-variates"}
            if strategy.control_scopes != ("all", "head", "factors"):
                more["control-scope"] = strategy.control_scopes[0]
            yield f"{name}+control-variates", more
    yield "ilora+none", {"drift-correction": "none"}
    published = {"cut": "product", "aggregate": "products"}
    yield "ilora+published", published
    yield "ilora+merge", {"residual": "merge", **published}
    yield "ilora+step", {
        "aggregate": "increments", "server-rate": "1.5", "server-momentum": 0.3,
    }  # fmt: skip
    yield "ilora+rotate", {"control-basis": "rotate"}
    yield "fedex-lora+step", {"server-rate": "1.5", "server-momentum": 0.3}
    yield "rolora+step", {"server-momentum": 0.3}
    yield "fedit+qr", {"initialisation": "qr"}
    yield "fedgalore+seldom", {"galore-refresh-every": 2, "moment-sync": "means"}
    yield "fedit+moments", {"drift-correction": "second-moments"}
    for correction in ("fedadamw", "fedlada"):
        for name in ("ilora", "fedit"):  # a basis that turns, and one that stays
            yield f"{name}+{correction}", {"drift-correction": correction}
    ajive = {"drift-correction": "fedadamw", "moment-sync": "ajive"}
    yield "fedit+ajive", ajive
    for correction in ("fedsmoo", "fedglomo"):
        for name in ("rolora", "fedsa-lora"):  # factors take turns; one stays
            yield f"{name}+{correction}", {"drift-correction": correction}
    yield "ilora+private", {"private-rank": 3}
    yield "fedit+int8", {
        "wire-dtype": "int8", "drift-correction": "control-variates",
    }  # fmt: skip
    yield "hetlora+pruning", {
        "hetlora-gamma": 0.5, "hetlora-lambda": 1.0,
        "drift-correction": "control-variates",
    }  # fmt: skip


CASES = dict(cases())


def settings(case: str) -> dict[str, Any]:
    return {
        "strategy": case.partition("+")[0], "num-server-rounds": 3, "local-steps": 2,
        "test-examples": 20, "batch-size": 8, **CASES[case],
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(tiny_config, tmp_path_factory) -> Callable[[str], Path]:
    """Run a case as a whole, once for all tests that hold something against it."""

    @cache
    def folder(case: str) -> Path:
        place = {"output-dir": str(tmp_path_factory.mktemp("whole") / "run")}
        return run(tiny_config | settings(case) | place)[0]

    return folder


@pytest.mark.parametrize("case", CASES)
def test_it_ends_as_if_nothing_had_happened(run_config, whole, case):
    run_config |= settings(case)
    folder = interrupted(run_config)
    assert list(metrics(folder)["round"]) == [0, 1]
    server = resumed(run_config)
    assert server.folder.path == folder
    assert not read_events(folder, "reply-left-out")
    assert_same(whole(case), folder)


@pytest.mark.parametrize("name", METHODS)
def test_evaluation_in_training_messages_has_the_same_numbers(run_config, whole, name):
    """The model is measured before it is trained on, and training does not notice."""
    run_config |= settings(name) | {"evaluate-on": "train"}
    on_the_way, grid, server = run(run_config)
    folders = (whole(name), on_the_way)
    tables = [metrics(folder).set_index("round") for folder in folders]
    assert not read_events(on_the_way, "reply-left-out")
    columns = [*MEASURED, *(["accuracy"] if server.strategy.method.personal else [])]
    for number in (1, 2, 3):
        for column in columns:
            values = [table[column][number] for table in tables]
            assert values[1] == pytest.approx(values[0], abs=1e-5), (number, column)
    assert list(tables[0]["train_loss"]) == pytest.approx(
        list(tables[1]["train_loss"]), nan_ok=True, abs=0
    )
    if name != "centralized":
        heads = 3 if name == "linear-probe" else 0  # asked for the sums of their head
        assert sent(grid, MessageType.EVALUATE) == 3 + heads  # of the last round
        assert sent(grid, MessageType.TRAIN) == 9
        measured = read_events(on_the_way, "measured")
        assert [event["round"] for event in measured] == [1, 2]


@pytest.fixture
def corrected(run_config):
    """Control variates and an own B are what a client cannot do without."""
    return run_config | {
        "strategy": "fedsa-lora", "drift-correction": "control-variates",
        "control-scope": "head", "num-server-rounds": 4, "test-examples": 40,
    }  # fmt: skip


def test_it_may_be_interrupted_again_and_again(corrected, tmp_path):
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=2)
    for fails_in in (3, 3, 4):
        interrupted(corrected | {"resume": "latest"}, fails_in=fails_in)
    resumed(corrected)
    assert_same(whole, folder)
    behind = [event["after_round"] for event in read_events(folder, "resumed")]
    assert behind == [1, 2, 2, 3]


def test_without_what_the_nodes_have_kept_it_ends_elsewhere(
    corrected, tmp_path, monkeypatch
):
    """So what they keep is needed, and a node that lost it takes part all the same."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=3)
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "another disk"))
    resumed(corrected)
    assert metrics(folder)["loss"].iloc[2] == metrics(whole)["loss"].iloc[2]
    assert metrics(folder)["loss"].iloc[3] != metrics(whole)["loss"].iloc[3]
    assert not read_events(folder, "reply-left-out")
    assert list(metrics(folder)["clients"].iloc[1:]) == [3, 3, 3, 3]


def test_a_node_that_lost_its_base_gets_it_whole(run_config, tmp_path, monkeypatch):
    run_config |= {"strategy": "flora", "num-server-rounds": 3}
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder = interrupted(run_config)
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "another disk"))
    resumed(run_config)
    assert not read_events(folder, "reply-left-out")
    assert metrics(folder)["loss"].iloc[-1] == pytest.approx(
        metrics(whole)["loss"].iloc[-1], rel=1e-5
    )


def test_a_torn_checkpoint_is_passed_over(corrected, tmp_path, caplog):
    """The nodes still hold the state of the round before, and it is that they take."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")
    folder = interrupted(corrected, fails_in=4)
    tensors = folder / "checkpoints" / "round-3" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    resumed(corrected)
    assert "its SHA-256 differs; going on from round 2" in caplog.text
    assert_same(whole, folder)


def test_a_member_that_stays_away_is_still_a_member(corrected, tmp_path):
    """c is a mean over all members, and a rank is measured whoever holds it."""
    folder = interrupted(corrected)
    server = resumed(corrected, arrivals={997: 10_000})
    assert server.membership.ranks == [2, 4, 8]
    assert list(metrics(folder)["clients"].iloc[2:]) == [2, 2, 2]


@pytest.mark.parametrize("after", ["train", "evaluate"])
def test_a_node_that_restarts_within_a_run_takes_up_its_place(
    corrected, tmp_path, after
):
    """Same data, another node id, an empty memory: the numbers do not change."""
    whole, _, _ = run(corrected)
    corrected["output-dir"] = str(tmp_path / "again")

    class Restarting(FaultyGrid):
        def send_and_receive(self, messages, *, timeout=None):
            messages = list(messages)
            replies = super().send_and_receive(messages, timeout=timeout)
            asked = messages[0].content.config_records.get("config", {})
            kind = messages[0].metadata.message_type
            if kind == after and asked["server-round"] == 2:
                fresh = fresh_grid(corrected)._contexts[998]
                del self._contexts[2]
                self._contexts[998] = fresh
            return replies

    server = start(corrected, Restarting(client_app.app, corrected, 3))
    assert server.membership.ranks == [2, 4, 8]
    assert_same(whole, Path(corrected["output-dir"]))


def test_a_finished_run_may_be_given_more_rounds(run_config, tmp_path):
    run_config |= {"num-server-rounds": 4}
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder, _, _ = run(run_config | {"num-server-rounds": 2})
    resumed(run_config)
    last = [metrics(f).iloc[-1].dropna() for f in (whole, folder)]
    assert dict(last[0]) == dict(last[1])
    assert files(whole) == files(folder)


def test_a_finished_run_writes_its_adapters_again(run_config):
    folder, _, _ = run(run_config)
    before, table = files(folder), metrics(folder)
    for path in folder.glob("adapter/*"):
        path.unlink()
    resumed(run_config)
    assert files(folder) == before
    pandas.testing.assert_frame_equal(metrics(folder), table, check_exact=True)


def test_with_keep_checkpoints_0_nothing_is_kept(corrected, tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "nodes"))
    folder, _, _ = run(corrected | {"keep-checkpoints": 0})
    assert not (folder / "checkpoints").exists()
    assert not (tmp_path / "nodes").exists()
