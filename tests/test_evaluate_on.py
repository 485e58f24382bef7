"""Clients evaluate in messages of their own, or on the way of training."""

from types import SimpleNamespace

import pytest
import torch
from flwr.app import Message, MetricRecord
from flwr.superlink.grid import HttpGrid

from ilora_app import wire
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.server import enrolment, preflight
from ilora_app.settings import parsing
from ilora_app.tasks.metrics import ClassScores
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run


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


@pytest.mark.slow
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


def test_a_model_that_knows_one_class_is_said_to(run_config, caplog):
    _, _, server = run(run_config | {"num-server-rounds": 1})
    flat = dict(server.strategy.global_model().named_tensors())
    bias = next(name for name in flat if name.endswith("classifier.bias"))
    flat[bias] = flat[bias].index_fill(0, torch.tensor(3), 1e4)
    caplog.clear()
    server.evaluation(1, wire.model_record(flat))
    assert server.evaluation.only_class == 3
    assert any("takes every row of the test split for" in t for t in caplog.messages)


def test_several_classes_are_not_one():
    scores = ClassScores()
    output = SimpleNamespace(loss=0.0, logits=torch.eye(4)[[1, 1, 2]])
    scores.add(output, torch.tensor([1, 2, 3]))
    assert scores.only_class is None
    assert scores.hits == [True, False, False]
