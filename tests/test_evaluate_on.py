"""Clients evaluate in messages of their own, or on the way of training."""

import pytest
from flwr.app import Message, MessageType, MetricRecord
from flwr.superlink.grid import HttpGrid

from ilora_app import wire
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.methods import METHODS
from ilora_app.server import enrolment, preflight
from ilora_app.settings import parsing
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run

MEASURED = [
    "client_accuracy_mean", "client_accuracy_worst", "client_loss_mean",
    "held_out_accuracy", "clients_evaluated",
]  # fmt: skip


def sent(grid, kind: str) -> int:
    return sum(m.metadata.message_type == kind for m in grid.sent)


@pytest.mark.parametrize("name", METHODS)
def test_the_numbers_are_the_same_in_the_same_rows(run_config, tmp_path, name):
    """The model is measured before it is trained on, and training does not notice."""
    run_config |= {"strategy": name, "num-server-rounds": 3, "test-examples": 40}
    apart, _, _ = run(run_config | {"evaluate-on": "evaluate"})
    run_config |= {"evaluate-on": "train", "output-dir": str(tmp_path / "way")}
    on_the_way, grid, server = run(run_config)
    tables = [metrics(folder).set_index("round") for folder in (apart, on_the_way)]
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
        assert sent(grid, MessageType.EVALUATE) == 3  # of the last round
        assert sent(grid, MessageType.TRAIN) == 9
        measured = read_events(on_the_way, "measured")
        assert [event["round"] for event in measured] == [1, 2]


def test_a_rate_of_evaluation(run_config):
    run_config |= {
        "num-server-rounds": 5, "evaluate-every": 2, "evaluate-on": "train",
    }  # fmt: skip
    table = metrics(run(run_config)[0]).set_index("round")
    assert list(table.index[table["client_accuracy_mean"].notna()]) == [2, 4, 5]


def test_a_bad_evaluation_does_not_spoil_the_training(run_config):
    def tamper(reply: Message) -> Message:
        content = reply.content
        if wire.EVALUATION in content and reply.metadata.src_node_id == 2:
            content[wire.EVALUATION] = MetricRecord({"accuracy": 7.0})
        return reply

    folder, _, _ = run(run_config | {"evaluate-on": "train"}, tamper=tamper)
    (event,) = read_events(folder, "reply-left-out")
    assert (event["round"], event["purpose"], event["node"]) == (2, "evaluate", 2)
    table = metrics(folder)
    assert table["clients_evaluated"][1] == 2
    assert table["clients"][2] == 3


def test_a_resumed_run_measures_the_round_that_it_goes_on_from(run_config, tmp_path):
    run_config |= {
        "evaluate-on": "train", "num-server-rounds": 4, "test-examples": 40,
    }  # fmt: skip
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder = interrupted(run_config, fails_in=3)
    resumed(run_config)
    assert_same(whole, folder)


def test_auto_is_train_on_real_nodes_alone():
    settings = parsing.load({})
    here = LocalGrid.__new__(LocalGrid)
    there = HttpGrid.__new__(HttpGrid)
    assert enrolment.evaluate_on(settings, here) == "evaluate"
    assert enrolment.evaluate_on(settings, there) == "train"
    chosen = parsing.load({"best-metric": "client_accuracy_worst"})
    assert enrolment.evaluate_on(chosen, there) == "evaluate"
    asked = parsing.load({"evaluate-on": "train"})
    assert enrolment.evaluate_on(asked, here) == "train"


def test_a_best_round_that_nobody_could_keep_is_refused(run_config):
    run_config |= {"evaluate-on": "train", "best-metric": "held_out_accuracy"}
    with pytest.raises(parsing.ConfigError, match="as evaluate-on is train"):
        preflight.prepare(run_config)
