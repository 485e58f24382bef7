"""What a report says on top: what the run came to, and what to do next."""

import html
import json
import os
import re
import socket
from pathlib import Path

import pytest

from ilora_app.report import page as report
from ilora_app.report.verdict import typed
from ilora_app.runs import class_scores
from ilora_app.runs.class_scores import ByClass
from tests.page import Page
from tests.report_folder import hard_folder, write

HERE = {"event": "started", "run": 1, "rounds": 30, "pid": os.getpid()}
BASELINES = {"event": "baselines", "majority_class": 0.25, "tfidf": 0.8}


def rounds(*accuracies: float, **first: float) -> list[dict]:
    rows = [
        {"round": i, "accuracy": value, "f1": value / 2, "clients": 3}
        for i, value in enumerate(accuracies)
    ]
    rows[0] |= first
    return rows


def verdict(folder: Path, **more) -> str:
    text = report.write(folder, **more).read_text()
    found = re.search(r'<section class="verdict.*?</section>', text, re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", found[0]))


@pytest.fixture
def made(tmp_path):
    """A finished run of 100 test rows that beats the probe and not the words."""
    events = [{**HERE, "host": socket.gethostname()}, BASELINES, {"event": "finished"}]
    folder = write(tmp_path / "run", rounds(0.5, 0.7, 0.6, head_examples=9), events)
    true = [i % 4 for i in range(100)]
    class_scores.write(folder, ByClass.of("abcd", true, true[:60] + [0] * 40))
    return folder


def test_accuracy_stands_beside_what_needs_no_training(made):
    text = verdict(made)
    assert "The run finished with round 2 of 30, and stopped early." in text
    assert "test split is 0.6000, macro F1 (every class counts alike) 0.3000" in text
    assert "round 1 had 0.7000, the best" in text
    assert "over 100 rows is 0.0490" in text, "sqrt(.6 * .4 / 100)"
    assert "0.3500 above guessing the commonest class (0.2500)." in text
    assert "0.2000 below TF-IDF" in text
    assert "(0.8000): this run reaches less than that" in text
    assert "0.1000 above linear probe, round 0 (0.5000)." in text


def test_commands_are_of_this_run_and_of_its_best_round(made):
    text = verdict(made)
    assert f'ilora predict {made} "a text" --round best' in text
    assert f"ilora export {made} --out adapter --round best" in text
    assert "config.toml --rounds" not in text, "the last round was not the best"
    assert "ilora check" not in text, "the probe is known"


def test_a_run_without_a_probe_is_told_how_to_get_one(tmp_path):
    folder = write(tmp_path / "run", rounds(0.1, 0.3, 0.5), [{"event": "finished"}])
    text = verdict(folder)
    assert "ilora check" in text
    assert f"{folder}/config.toml --rounds 4" in text, "it was still gaining"


def test_a_constant_prediction_is_said(made):
    class_scores.write(made, ByClass.of("abcd", [0, 1, 2, 3], [2, 2, 2, 2]))
    assert "Every row of the test split is taken for 'c'." in verdict(made)


def test_no_clear_difference_is_none(made):
    events = [json.dumps({"event": "baselines", "tfidf": 0.65})]
    with (made / "events.jsonl").open("a") as file:
        file.write("\n" + "\n".join(events) + "\n")
    assert "within two standard errors: no clear difference" in verdict(made)


def test_the_same_accuracy_is_neither_above_nor_below(made):
    with (made / "events.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"event": "baselines", "tfidf": 0.6}) + "\n")
    text = verdict(made)
    assert "0.0000" not in text
    assert "As much as TF-IDF and a linear model, texts pooled (0.6000)." in text


def test_a_live_run_says_that_it_is_live(tmp_path):
    begun = {**HERE, "host": socket.gethostname()}
    folder = write(tmp_path / "run", rounds(0.1, 0.3), [begun])
    text = report.write(folder).read_text()
    assert "<h1>Live: run of ilora</h1>" in text
    assert "Live: round 1 of 30 is over" in verdict(folder)
    assert f"ilora watch {folder}" in verdict(folder)
    over = verdict(folder, over=True)
    assert "The run finished" in over, "the run itself writes it before its last event"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (
            {"event": "failed", "reason": "no <memory>"},
            "after round 1 of 30: no <memory>",
        ),
        ({"event": "stopped"}, "was stopped after round 1 of 30"),
    ],
)
def test_a_run_that_did_not_finish_can_go_on(tmp_path, end, said):
    folder = write(tmp_path / "run", rounds(0.1, 0.3), [HERE, end])
    text = verdict(folder)
    assert said in text
    assert f"ilora run --resume {folder}" in text
    assert "ilora predict" not in text


def test_nobody_took_part(tmp_path):
    rows = [{**row, "clients": 0} for row in rounds(0.1, 0.1)]
    folder = write(tmp_path / "run", rows, [{"event": "finished"}])
    assert "No round had usable replies" in verdict(folder)


def test_each_class_has_its_scores_and_its_mistakes(tmp_path):
    page = Page(report.write(hard_folder(tmp_path)).read_text())
    assert ["ordinary", "w" * 60, "3"] in page.rows, "what it was taken for"
    (scores,) = [row for row in page.rows if row[0] == "ordinary" and len(row) == 6]
    assert scores == ["ordinary", "0.880", "0.880", "0.880", "25", "25"]
    assert "Confusion matrix" in {a.get("aria-label") for _, a in page.tags}


def test_of_many_classes_there_is_a_table_and_no_matrix(made):
    names = [f"class {i}" for i in range(200)]
    true = [i % 200 for i in range(400)]
    told = [(i + 1) % 200 if i % 2 else i for i in true]
    class_scores.write(made, ByClass.of(names, true, told))
    page = Page(report.write(made).read_text())
    assert "Confusion matrix" not in {a.get("aria-label") for _, a in page.tags}
    assert ["class 1", "class 2", "2"] in page.rows
    assert "All 200 classes" in page.text


def test_a_folder_is_typed_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert typed(tmp_path / "runs" / "a b") == "~/'runs/a b'"
    assert typed(tmp_path.parent / "other") == str(tmp_path.parent / "other")
