"""Tasks beyond one class a row under the strategies that go ways of their own."""

import math

import pytest

from ilora_app.settings import Settings, parsing
from tests import task_data
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task", ["regression", "token-classification", "seq2seq-lm"])
@pytest.mark.parametrize("strategy", ["centralized", "fedavg-full", "fedsa-lora"])
def test_pooled_whole_and_personal(tmp_path, task, strategy):
    """All examples joined, every weight trained, clients with models of their own."""
    config = task_data.job(
        task, tmp_path, strategy=strategy, num_server_rounds=1, report=False
    )
    table = metrics(run(parsing.dump(Settings()) | config)[0])
    assert math.isfinite(table["loss"].iloc[-1])
    own = strategy == "fedsa-lora"
    assert ("accuracy" in table and bool(table["accuracy"].notna().iloc[-1])) == (
        task != "regression"
    )
    if own and task != "regression":
        assert 0 <= table["accuracy_r4"].iloc[-1] <= 1


@pytest.mark.parametrize("task", ["multi-label-classification", "regression"])
def test_clients_in_one_batch_learn_what_each_learns_alone(tmp_path, task):
    tables = []
    for together in (1, 3):
        folder = tmp_path / str(together)
        folder.mkdir()
        config = task_data.job(
            task,
            folder,
            clients_per_batch=together,
            base_dropout=False,
            num_server_rounds=1,
            report=False,
        )
        tables.append(metrics(run(parsing.dump(Settings()) | config)[0]))
    for name in ("loss", "train_loss"):
        one, other = (table[name].iloc[-1] for table in tables)
        assert one == pytest.approx(other, rel=1e-4)


def test_a_pretrained_model_learns_which_classes_a_text_has(tmp_path):
    """Better than naming no class, every class, or whichever are in most rows."""
    config = task_data.job(
        "multi-label-classification",
        tmp_path,
        model=Settings().model.model,
        num_server_rounds=2,
        local_steps=20,
        learning_rate=0.003,
        evaluate_every=2,
        report=False,
    )
    last = metrics(run(parsing.dump(Settings()) | config)[0]).iloc[-1]
    every_class = 2 / 3  # micro F1: half of all are there
    assert last.micro_f1 > every_class + 0.15
    assert last.macro_f1 > every_class + 0.15
    assert last.accuracy > 0.3
