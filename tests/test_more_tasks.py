"""Several classes a row, numbers, tags, encoder-decoders: from data to prediction."""

import json
import math

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import Settings, parsing
from ilora_app.settings.parsing import ConfigError
from tests import task_data
from tests.local_run import metrics, run

TASKS = {
    "multi-label-classification": ("what about flight", {"micro_f1", "macro_f1"}),
    "regression": ("what about flight", {"spearman"}),
    "token-classification": ("fly to new york", {"f1"}),
    "seq2seq-lm": ("what about flight", {"perplexity", "exact_match"}),
}


def ilora(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def whole(config: dict) -> dict:
    return parsing.dump(Settings()) | config


# An encoder-decoder takes as long as the three others.
SLOW = {"seq2seq-lm": pytest.mark.slow}
RUNS = [pytest.param(task, marks=SLOW.get(task, ())) for task in TASKS]


@pytest.fixture(scope="module", params=RUNS)
def finished(request, tmp_path_factory):
    """A run with default settings but for model, data, and length."""
    folder = tmp_path_factory.mktemp(request.param)
    config = whole(task_data.job(request.param, folder, generate_tokens=4))
    path, _, server = run(config)
    return request.param, path, server


def test_a_run_measures_what_its_task_is_about(finished):
    task, folder, server = finished
    table = metrics(folder).set_index("round")
    first, last = table.loc[0], table.loc[2]
    assert last.loss != first.loss
    if task in ("token-classification", "seq2seq-lm"):
        assert last.loss < 0.9 * first.loss
    for name in TASKS[task][1]:
        assert math.isfinite(last[name]), name
    assert math.isfinite(last.client_loss_mean)
    best = json.loads((folder / "best" / "best.json").read_text())
    if task == "regression":
        assert table.accuracy.isna().all(), "a number is not right or wrong"
        assert "client_accuracy_mean" not in table
        assert best["metric"] == "loss"
    else:
        assert 0 <= last.client_accuracy_worst <= last.held_out_accuracy <= 1
    log = (folder / "events.jsonl").read_text()
    assert '"baselines"' not in log, "there is no commonest class"
    assert (folder / "report.html").stat().st_size > 5000
    card = (folder / "adapter" / "README.md").read_text()
    assert f"Task {task}" in card
    kind = type(server.prepared.backbone.model.get_base_model()).__name__
    auto = {"BertForTokenClassification": "TokenClassification",
            "T5ForConditionalGeneration": "Seq2SeqLM"}  # fmt: skip
    assert f"AutoModelFor{auto.get(kind, 'SequenceClassification')}" in card


def test_predictions_of_a_run(finished):
    task, folder, server = finished
    text = TASKS[task][0]
    result = ilora("predict", folder, text, "--json", "--top", 9)
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    if task == "multi-label-classification":
        chances = {one["label"]: one["probability"] for one in said["labels"]}
        assert set(chances) == set(server.prepared.labels)
        assert all(0 < chance < 1 for chance in chances.values())
    elif task == "regression":
        assert math.isfinite(said["number"])
    elif task == "token-classification":
        assert [one["word"] for one in said["tags"]] == text.split()
        assert {one["tag"] for one in said["tags"]} <= {"B-PLACE", "I-PLACE", "O"}
    else:
        assert isinstance(said["completion"], str)
    assert ilora("predict", folder, text).exit_code == 0


def test_an_export_for_transformers(finished, tmp_path):
    """Its own classes load all of these, so the name of the target is no refusal."""
    task, folder, _ = finished
    words = ("--for", "transformers", "--json")
    result = ilora("export", folder, "--out", tmp_path / "adapter", *words)
    assert result.exit_code == 0, result.output
    plain = ilora("export", folder, "--out", tmp_path / "plain", "--json")
    one, other = (json.loads(found.output) for found in (result, plain))
    assert one | {"target": None, "folder": ""} == other | {"folder": ""}
    card = (tmp_path / "adapter" / "README.md").read_text()
    kind = {"token": "TokenClassification", "seq2seq": "Seq2SeqLM"}
    name = kind.get(task.partition("-")[0], "SequenceClassification")
    assert f"AutoModelFor{name}.from_pretrained" in card


def test_a_membership_test_is_over_the_loss_of_the_task(finished):
    _, folder, _ = finished
    result = ilora("audit", folder, "--json")
    assert result.exit_code == 0, result.output
    assert 0 <= json.loads(result.output)["auc"] <= 1


@pytest.mark.parametrize("task", TASKS)
def test_check_finds_the_task_by_itself(tmp_path, task):
    folder = task_data.write(tmp_path / "data", task)
    result = ilora("check", folder, "--json", "--no-probe", "--clients", 3)
    assert result.exit_code == 0, result.output
    seen = json.loads(result.output)
    suggested = {one["key"]: one["value"] for one in seen["suggestions"]}
    assert suggested["task"] == task
    assert seen["problems"] == []
    assert sum(share["rows"] for share in seen["deal"]) == 90


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("head", "ridge", "head = 'ridge': expected trained"),
        ("logit-adjustment", 1.0, "logit-adjustment = 1: is not used"),
        ("strategy", "linear-probe", "expected"),
    ],
)
def test_what_needs_one_class_a_row_is_refused(tmp_path, task, key, value, said):
    config = whole(task_data.job(task, tmp_path) | {key: value})
    with pytest.raises(ConfigError, match=said) as raised:
        run(config)
    assert any(task in problem for problem in raised.value.problems)
