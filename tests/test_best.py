"""The best round is kept beside the last, with its adapter."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

from ilora_app.runs import best
from ilora_app.settings import parsing
from tests.interruptions import interrupted, resumed
from tests.local_run import files, metrics, run


@pytest.mark.parametrize(
    ("metric", "values", "winner"),
    [
        ("accuracy", [0.9, 0.2, 0.5, 0.5, 0.1], 2),
        ("loss", [0.1, 2.0, 0.5, 0.5, 0.7], 2),
        ("client_loss_mean", [None, 2.0, None, float("nan"), 0.7], 4),
        ("client_accuracy_worst", [None, 0.3, 0.1, 0.2, 0.0], 1),
        ("perplexity", [None, 9.0, 8.0, 10.0, 8.0], 2),
    ],
)
def test_which_round_is_the_best(metric, values, winner):
    """Round 0 has not trained; of equal ones the first stays."""
    found = None
    for number, value in enumerate(values):
        row = {"round": number} | ({} if value is None else {metric: value})
        found = best.of_rounds(metric, row, found) or found
    assert found == {"round": winner, "metric": metric, "value": values[winner]}


@pytest.mark.parametrize("name", ["round", "seconds_train", "drift", "bytes_up", ""])
def test_columns_that_say_nothing_of_a_model_are_refused(name):
    with pytest.raises(parsing.ConfigError, match="says how good a model is"):
        parsing.load({"best-metric": name})


def test_its_adapter_is_the_model_of_that_round(run_config):
    """With a rate this large the last rounds are not the best."""
    run_config |= {
        "learning-rate": 0.5, "num-server-rounds": 5, "strategy": "fedit",
        "best-metric": "loss",
    }  # fmt: skip
    folder, _, server = run(run_config)
    found = json.loads((folder / "best" / "best.json").read_text())
    table = metrics(folder).set_index("round")["loss"]
    assert found["round"] == table.iloc[1:].idxmin()
    assert found["round"] < 5
    base = AutoModelForSequenceClassification.from_pretrained(
        run_config["model"], num_labels=10
    )
    model = PeftModel.from_pretrained(base, folder / "best" / "adapter").eval()
    total = 0.0
    with torch.inference_mode():
        for batch in server.prepared.test.batches(50):
            total += float(model(**batch).loss) * len(batch["labels"])
    expected = table[found["round"]]
    assert total / len(server.prepared.test) == pytest.approx(expected, abs=1e-5)
    assert f"{expected:.4f}" in (folder / "best/adapter/README.md").read_text()


@pytest.mark.slow
def test_a_resumed_run_remembers_it(run_config, tmp_path):
    run_config |= {
        "learning-rate": 0.5, "num-server-rounds": 4, "strategy": "fedit",
        "best-metric": "loss",
    }  # fmt: skip
    whole, _, _ = run(run_config)
    run_config["output-dir"] = str(tmp_path / "again")
    folder = interrupted(run_config, fails_in=4)
    resumed(run_config)
    texts = [(f / "best" / "best.json").read_text() for f in (whole, folder)]
    assert texts[0] == texts[1]
    assert files(whole / "best") == files(folder / "best")
    assert files(whole / "best")


BY_CLASS = ("classes.csv", "confusion.csv")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "fedavg-full"}, {"best.json", "model", *BY_CLASS}),
        ({"strategy": "fedsa-lora"}, {"best.json"}),
        ({"save-adapters": False}, {"best.json", *BY_CLASS}),
    ],
)
def test_what_is_beside_it(run_config, changes, expected):
    folder, _, _ = run(run_config | changes)
    assert {path.name for path in (folder / "best").iterdir()} == expected


def test_a_column_that_no_round_has(run_config, caplog):
    folder, _, _ = run(run_config | {"best-metric": "accuracy_r3"})
    assert "best-metric = 'accuracy_r3': no round has that column" in caplog.text
    assert not (folder / "best").exists()
