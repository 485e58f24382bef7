"""What fine-tuning adds to what needs none, as the documents quote it."""

import os
from pathlib import Path

import pandas
import pytest

from benchmarks import headroom, laboratory
from benchmarks.analysis import cell, difference
from benchmarks.headroom import STUDIED, Simple, line, simple
from benchmarks.recorded import COMMITTED, Run, Study

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"


@pytest.fixture(scope="module")
def told() -> dict[str, list[str]]:
    """Cells of the table in the documents, by task."""
    text = RESULTS.read_text(encoding="utf-8")
    body = text.split("\n".join(headroom.HEAD))[1].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in body.strip().splitlines()]
    return {row[0]: row for row in rows}


def test_what_the_study_says_of_a_task_is_quoted(told):
    study = Study(COMMITTED)
    assert set(told) == set(STUDIED)
    for task, cells in told.items():
        simpler = [None if c == "–" else float(c) for c in cells[2:4]]
        found = Simple(int(cells[1]), *simpler)
        assert line(study, task, found) == "| " + " | ".join(cells) + " |"


@pytest.mark.slow
@pytest.mark.parametrize("task", STUDIED)
def test_the_commonest_class_and_the_words_are_quoted(task, told, tmp_path):
    if not os.environ.get("ILORA_SHARED"):
        pytest.skip("ILORA_SHARED names no folder with the data sets")
    found = simple(task, Path(os.environ["ILORA_SHARED"]) / "data", tmp_path)
    assert line(Study(COMMITTED), task, found) == "| " + " | ".join(told[task]) + " |"


def test_words_tell_classes_and_a_constant_does_not(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "said"
    folder.mkdir(parents=True)
    rows = [("a fine day", "good"), ("a fine dog", "good"), ("a bad day", "bad")] * 8
    for name in ("train", "test"):
        table = pandas.DataFrame(rows, columns=["text", "label"])
        table.to_parquet(folder / f"{name}.parquet")
    config = {"dataset": "{data}/said", "label-column": "label"}
    monkeypatch.setitem(laboratory.TASKS, "said", config)
    found = simple("said", tmp_path / "data", tmp_path / "cut")
    assert found == Simple(24, pytest.approx(2 / 3), 1.0)


def test_headroom_is_what_the_best_adds_to_the_best_that_needs_no_training(tmp_path):
    study = Study(tmp_path / "runs.jsonl")
    for row, accuracy in (("linear-probe", 0.7), ("centralized", 0.85), ("ilora", 0.8)):
        for rate in (0.0003, 0.001, 0.003, 0.01):
            study.add(
                Run("said", "skewed", row, rate, 0),
                {"rows": [{"accuracy": accuracy - rate, "held_out_accuracy": -rate}]},
            )
    cells = line(study, "said", Simple(100, 0.5, 0.75)).strip("| ").split(" | ")
    assert cells[5:8] == ["0.850", "0.800", "+0.100"]
    assert cells[4] == "0.699"  # a probe is trained at one rate
    assert cells[8] == "0.036"


def test_how_far_language_models_are_from_one_place_is_quoted():
    study, said = Study(COMMITTED), []
    for task in ("e2e", "dolly"):
        rows = [cell(study, task, "skewed", row) for row in ("centralized", "ilora")]
        gap = difference(*rows)
        assert gap.excludes_zero
        said.append(f"{gap.mean:.2f} ± {gap.half:.2f}".replace("0.", "."))
    text = " ".join(RESULTS.read_text(encoding="utf-8").split())
    assert (
        f"One client with all data ends {said[0]} nats below it on E2E, "
        f"and {said[1]} on Dolly."
    ) in text
