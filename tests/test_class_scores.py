"""Scores by class of the test split, in the run folder and where they are shown."""

import json
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.runs import class_scores
from ilora_app.runs.class_scores import ByClass
from ilora_app.runs.worth import Worth
from ilora_app.tasks.metrics import ClassScores
from tests.local_run import metrics, run

NAMES = ("a,b", 'say "x"', "two\nlines", "never")


def test_scores_are_those_counted_by_hand():
    found = ByClass.of(NAMES, [0, 0, 0, 1, 2], [0, 0, 1, 1, 1])
    a, b, c, never = found.scores
    assert (a.precision, a.recall, a.f1) == (
        1,
        pytest.approx(2 / 3),
        pytest.approx(0.8),
    )
    assert (b.precision, b.recall) == (pytest.approx(1 / 3), 1)
    assert (c.precision, c.recall, c.f1, c.examples, c.predicted) == (None, 0, 0, 1, 0)
    assert (never.precision, never.recall, never.f1) == (None, None, None)
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert found.confused == [(NAMES[0], NAMES[1], 1), (NAMES[2], NAMES[1], 1)]
    assert [score.name for score in found.worst] == [NAMES[2], NAMES[1], NAMES[0]]


rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1)


@given(rows)
def test_their_mean_is_the_macro_f1_of_the_rounds(pairs):
    true, told = (list(part) for part in zip(*pairs, strict=True))
    found = ByClass.of(NAMES, true, told)
    right = f1_score(true, told, average="macro")
    assert found.macro_f1 == pytest.approx(right)
    scores = ClassScores()
    output = SimpleNamespace(loss=0.0, logits=torch.eye(4)[told])
    scores.add(output, torch.tensor(true))
    assert scores.result()["f1"] == right
    assert found.confusion == Counter(pairs)
    assert sum(score.examples for score in found.scores) == len(pairs)


def test_what_is_written_is_read_again(tmp_path):
    found = ByClass.of(NAMES, [0, 0, 0, 1, 2], [0, 0, 1, 1, 1])
    class_scores.write(tmp_path, found)
    assert class_scores.read(tmp_path) == found
    lines = (tmp_path / "confusion.csv").read_text().count("\n")
    assert lines - 1 - 1 == 4, "pairs that do not occur have no line; one name has two"


@pytest.mark.parametrize("name", ["classes.csv", "confusion.csv"])
@pytest.mark.parametrize("data", [b"", b"class,f1\nx,1\n", b"\xff\x00", None])
def test_files_that_are_none_are_not_read(tmp_path, name, data):
    class_scores.write(tmp_path, ByClass.of(NAMES, [0, 1], [0, 0]))
    (tmp_path / name).unlink()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    found = class_scores.read(tmp_path)
    assert found is None or (name, data) == ("confusion.csv", b"")


def test_many_classes_have_a_line_a_row_at_most(tmp_path):
    names = [f"class {i}" for i in range(1000)]
    generator = np.random.default_rng(0)
    true, told = generator.integers(0, 1000, (2, 3000)).tolist()
    class_scores.write(tmp_path, ByClass.of(names, true, told))
    assert len((tmp_path / "confusion.csv").read_text().splitlines()) <= 3001
    assert class_scores.read(tmp_path) == ByClass.of(names, true, told)


def test_a_run_leaves_them_for_its_end_and_for_its_best_round(run_config):
    """With a rate this large the last round is not the best."""
    run_config |= {
        "learning-rate": 0.5, "num-server-rounds": 4, "strategy": "fedit",
        "best-metric": "loss", "test-examples": 60,
    }  # fmt: skip
    folder, _, server = run(run_config)
    table = metrics(folder).set_index("round")
    best = json.loads((folder / "best" / "best.json").read_text())["round"]
    assert best < 4
    for place, number in ((folder, 4), (folder / "best", best)):
        found = class_scores.read(place)
        right = sum(n for (i, j), n in found.confusion.items() if i == j)
        assert right / 60 == pytest.approx(table["accuracy"][number])
        assert found.macro_f1 == pytest.approx(table["f1"][number])
        assert tuple(s.name for s in found.scores) == server.prepared.labels

    show = ["runs", "show", str(folder)]
    text = CliRunner().invoke(app, show).output
    assert f"macro F1 {table['f1'][4]:.4f}; guessing the commonest class" in text
    assert "lowest F1 of " in text
    data = json.loads(CliRunner().invoke(app, [*show, "--json"]).output)
    assert data["test"]["best"] == pytest.approx(table["accuracy"].max())
    assert len(data["classes"]) == len(server.prepared.labels)
    wrong = sum(pair["rows"] for pair in data["confused"])
    assert wrong == 60 - round(60 * data["test"]["accuracy"])


def test_models_of_their_own_have_none(run_config):
    folder, _, _ = run(run_config | {"strategy": "local", "num-server-rounds": 1})
    assert class_scores.read(folder) is None


def test_what_accuracy_is_worth():
    rows = [
        {"round": 0, "accuracy": 0.5, "f1": 0.4, "head_examples": 9},
        {"round": 1, "accuracy": 0.8, "f1": 0.7},
        {"round": 2, "accuracy": 0.7, "f1": 0.6},
    ]
    found = Worth.of(rows, [{"event": "baselines", "majority_class": 0.25}])
    assert found == Worth(0.7, 0.8, 1, 0.6, 0.25, None, 0.5, {})
    said = "accuracy 0.7000, macro F1 0.6000; guessing the commonest class 0.2500, "
    assert found.line == said + "linear probe, round 0 0.5000"
    untrained = [{"round": 0, "accuracy": 0.5}, *rows[1:]]
    assert Worth.of(untrained, []).linear_probe is None
    assert Worth.of([{"round": 1}], []).line == ""
    assert Worth.of([], []).line == ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"loss": 5.9, "accuracy": 0.25, "perplexity": 365.0, "exact_match": 0.5},
            "token accuracy 0.2500, perplexity 365.0000, exact match 0.5000",
        ),
        (
            {"loss": 0.7, "accuracy": 0.1, "micro_f1": 0.4, "macro_f1": 0.3},
            "accuracy 0.1000, micro F1 0.4000, macro F1 0.3000",
        ),
        (
            {"loss": 4.0, "spearman": 0.9},
            "rank correlation (Spearman) 0.9000, mean squared error 4.0000",
        ),
        ({"loss": 0.6, "accuracy": 0.8, "f1": 0.6}, "accuracy 0.8000, F1 0.6000"),
    ],
)
def test_tasks_beyond_one_class_a_row_end_with_their_own_measures(row, said):
    found = Worth.of([{"round": 0, **row}, {"round": 1, **row}], [])
    assert found.line == said
    assert Worth(**asdict(found)) == found
    later = Worth.of([{"round": 4, **row}, {"round": 5, "clients": 3}], [])
    assert later.line == f"{said} (round 4)", "what has been measured last"


def test_a_model_that_diverges_has_lost_its_perplexity():
    """An infinite one is left out while reading."""
    rows = [
        {"round": 0, "loss": 2.0, "accuracy": 0.4, "perplexity": 7.4},
        {"round": 1, "accuracy": 0.0},
    ]
    found = Worth.of(rows, [])
    assert found.line == "token accuracy 0.0000, no finite perplexity"
