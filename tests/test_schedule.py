"""Rates over the rounds, clipped gradients, adjusted logits, runs that end early."""

import math

import pytest
import torch

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.server import early_stop, preflight
from ilora_app.settings import KeepingSettings, RunSettings, Settings, TrainingSettings
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks import training
from ilora_app.tasks.schedule import rate_of
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run

pytestmark = pytest.mark.slow


def test_rates_are_those_of_the_formula():
    def rates(**changes):
        settings = TrainingSettings(learning_rate=2.0, **changes)
        return [rate_of(settings, t, 4) for t in (1, 2, 3, 4)]

    assert rates() == [2.0] * 4
    assert rates(rate_schedule="linear") == [2.0, 1.5, 1.0, 0.5]
    assert rates(rate_schedule="linear", rate_floor=0.5) == [2.0, 1.75, 1.5, 1.25]
    cosine = [1 + math.cos(math.pi * x / 4) for x in range(4)]
    assert rates(rate_schedule="cosine") == pytest.approx(cosine)


def test_a_run_resumed_in_the_middle_of_a_schedule_ends_as_a_whole_one(
    run_config, tmp_path
):
    run_config |= {
        "num-server-rounds": 4, "rate-schedule": "cosine", "rate-floor": 0.1,
        "clip-grad-norm": 0.5, "logit-adjustment": 1.0,
    }  # fmt: skip
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    other = interrupted(run_config, fails_in=3)
    longer = run_config | {"num-server-rounds": 5, "resume": "latest"}
    with pytest.raises(ConfigError, match="the rate-schedule ran for 4"):
        preflight.prepare(longer)
    resumed(run_config)
    assert_same(whole, other)


@pytest.fixture
def backbone_and_examples(run_config):
    _, _, server = run(run_config | {"num-server-rounds": 1, "local-steps": 1})
    backbone = server.prepared.backbone
    head = backbone.initial_head()
    backbone.install(AdapterState(LoraFactors({}), head))
    return backbone, server.prepared.test


def test_a_class_that_a_client_lacks_has_nearly_no_gradient(backbone_and_examples):
    backbone, examples = backbone_and_examples
    labels = torch.cat([b["labels"] for b in examples.batches(64)])
    lacked = int(labels.min())

    class Without:
        """The examples that are not of one class."""

        def batches(self, size):
            for batch in examples.batches(size):
                kept = batch["labels"] != lacked
                if kept.any():
                    yield {name: value[kept] for name, value in batch.items()}

        def weight(self, batch):
            return len(batch["labels"])

    rows = ["head.classifier.weight"]
    plain = training.mean_gradient(backbone, Without(), 64, rows)
    adjusted = training.mean_gradient(backbone, Without(), 64, rows, adjustment=1.0)
    before, after = (g[rows[0]][lacked].norm() for g in (plain, adjusted))
    assert after < 0.2 * before
    prior = training.log_prior(Without(), backbone, 2.0)
    assert float((prior / 2).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_clipping_bounds_what_a_step_sees(run_config, tmp_path):
    settings = {"optimizer": "sgd", "momentum": 0.0, "learning-rate": 1.0}
    settings |= {"local-steps": 1, "num-server-rounds": 1, "strategy": "ffa-lora"}
    moved = {}
    for clip in (0.0, 0.01):
        place = {"output-dir": str(tmp_path / f"{clip}"), "clip-grad-norm": clip}
        table = metrics(run(run_config | settings | place)[0])
        moved[clip] = table["drift"].iloc[-1] + table["drift_head"].iloc[-1]
    assert moved[0.01] < 0.05 < moved[0.0]


def test_a_run_ends_when_it_has_stopped_getting_better(run_config, tmp_path):
    run_config |= {"num-server-rounds": 8, "patience": 2, "learning-rate": 1e-9}
    folder, _, _ = run(run_config)
    table = metrics(folder)
    assert list(table["round"]) == [0, 1, 2, 3]
    (event,) = read_events(folder, "ended-early")
    assert event["reason"] == "2 evaluations without a better accuracy"
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    again = run(run_config | {"resume": "latest"})[0]
    assert list(metrics(again)["round"]) == [0, 1, 2, 3]


def test_why_a_run_ends():
    def reason(accuracies, **changes):
        keeping = KeepingSettings(best_metric="accuracy")
        settings = Settings(run=RunSettings(**changes), keeping=keeping)
        rows = [{"round": i, "accuracy": a} for i, a in enumerate(accuracies)]
        return early_stop.reason(settings, rows)

    assert reason([0.9, 0.1, 0.1, 0.1]) == ""
    assert reason([0.9, 0.2], target_accuracy=0.8) == ""
    assert reason([0.9, 0.85], target_accuracy=0.8) == (
        "accuracy 0.8500 reaches the target of 0.8"
    )
    assert reason([0.1, 0.5, 0.4], patience=2) == ""
    assert reason([0.1, 0.5, 0.4, 0.5], patience=2) != ""
    assert reason([0.1, 0.5, 0.4, 0.6], patience=2) == ""
