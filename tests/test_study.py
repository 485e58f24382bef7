"""The study: which runs it asks for, and what its tables say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import analysis, design, laboratory, recorded, study
from benchmarks.laboratory import pack
from benchmarks.recorded import Run, Study
from ilora_app import methods
from ilora_app.federation import validity
from ilora_app.settings import Settings, parsing
from tests import local_run

TASK, SETTING = "clinc150", "skewed"


def result(hits: np.ndarray, held_out: float, worst: float = 0.5) -> dict[str, Any]:
    """What a run of two rounds that ends with these hits would leave."""
    accuracy = float(np.mean(hits))
    end = {"accuracy": accuracy, "client_accuracy_worst": worst, "bytes_up": 1_000_000}
    return {
        "rows": [
            {"round": 0, "accuracy": 0.1},
            {"round": 1, "bytes_up": 1_000_000},
            {"round": 3, **end, "held_out_accuracy": held_out},
        ],
        "right": {"global": pack(list(hits)), "smallest": pack(list(hits))},
        "seconds": 10.0,
    }


@pytest.fixture
def empty(tmp_path: Path) -> Study:
    return Study(tmp_path / "runs.jsonl")


def fill(made: Study, row: str, chance: float, seeds: int = 5, rate: float = 0.003):
    """Runs at three rates, best at ``rate``, with accuracy about ``chance``."""
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        hits = generator.random(2000) < chance
        tried = design.START if seed == 0 else (rate,)
        for one in tried:
            score = 0.9 if one == rate else 0.5
            made.add(Run(TASK, SETTING, row, one, seed), result(hits, score))


def test_what_travels_otherwise_is_run_at_the_rate_of_what_it_is_compared_with(empty):
    asked = [TASK], [SETTING], "wire", 1
    first = empty.missing(*asked)
    assert {run.row for run in first} == {"ilora", "fedit"}
    assert len(first) == len(set(first)) == 2 * len(design.START)
    for row in ("ilora", "fedit"):
        fill(empty, row, 0.8, 1)
    left = empty.missing(*asked)
    assert {run.row for run in left} == set(design.RATE_OF) - {"ilora", "fedit"}
    assert {(run.rate, run.seed) for run in left} == {(0.003, 0)}


@pytest.mark.parametrize("table", design.TABLES)
@pytest.mark.parametrize("task", laboratory.TASKS)
def test_every_row_is_a_run_config_that_the_app_takes(table, task, tmp_path):
    for row in design.rows(table, task):
        for setting in design.SETTINGS:
            run = Run(task, setting, row, 0.003, 0)
            (tmp_path / task).mkdir(exist_ok=True)
            config = study.config_of(run, tmp_path, tmp_path)
            whole = {**parsing.dump(Settings()), **config}
            settings, wrong = methods.parse(whole)
            assert not wrong
            assert not validity.problems(settings)


@pytest.mark.parametrize("task", ["e2e", "dolly"])
@pytest.mark.parametrize("name", design.HEADLESS)
def test_a_language_model_has_no_head_that_a_row_could_train(task, name, tmp_path):
    (tmp_path / task).mkdir()
    one, other = (
        study.config_of(Run(task, SETTING, row, 0.003, 0), tmp_path, tmp_path)
        for row in (name, design.HEADLESS[name])
    )
    assert one == other
    assert name not in design.rows("ablation", task)
    assert name in design.rows("ablation", "clinc150")


def test_rates_are_searched_until_the_best_is_inside(empty):
    asked = []
    best = {0.0003: 0.3, 0.001: 0.4, 0.003: 0.6, 0.01: 0.8, 0.03: 0.7}
    while rates := empty.rate(TASK, "fedit")[1]:
        asked.append(rates)
        for rate in rates:
            hits = np.ones(10, dtype=bool)
            run = Run(TASK, SETTING, "fedit", rate, 0)
            empty.add(run, result(hits, best[rate]))
    assert asked == [[0.001, 0.003, 0.01], [0.03]]
    assert empty.rate(TASK, "fedit") == (0.01, [])


def test_the_rate_comes_from_held_out_data_and_never_from_the_test_split(empty):
    for rate, held_out, chance in (
        (0.001, 0.9, 0.1),
        (0.003, 0.8, 0.9),
        (0.01, 0.7, 1),
    ):
        hits = np.random.default_rng(0).random(500) < chance
        run = Run(TASK, SETTING, "fedit", rate, 0)
        empty.add(run, result(hits, held_out))
    run = Run(TASK, SETTING, "fedit", 0.0003, 0)
    empty.add(run, result(np.ones(500, dtype=bool), 0.1))
    assert empty.rate(TASK, "fedit") == (0.001, [])


def test_what_is_finished_is_not_asked_for_again(empty):
    rows = list(design.TABLES["ablation"])
    first = empty.missing([TASK], [SETTING], "ablation", 5)
    assert first == [
        Run(TASK, SETTING, row, rate, 0) for row in rows for rate in design.START
    ]
    for row in rows:
        fill(empty, row, 0.8)
    again = Study(empty.file)
    assert again.results == empty.results
    assert not again.missing([TASK], [SETTING], "ablation", 5)
    one_more = again.missing([TASK], [SETTING], "ablation", 6)
    assert [run.row for run in one_more] == rows
    assert {run.seed for run in one_more} == {5}


def test_a_row_far_behind_is_not_run_with_more_seeds(empty):
    rows = list(design.TABLES["leaders"])
    for row in rows:
        fill(empty, row, 0.8, seeds=2)
    fill(empty, rows[1], 0.6, seeds=2)
    asked = {run.row for run in empty.missing([TASK], [SETTING], "leaders", 5)}
    assert asked == {*rows} - {rows[1]}


def test_later_seeds_wait_until_it_is_known_who_is_far_behind(empty):
    rows = list(design.TABLES["leaders"])
    for row in rows[1:]:
        fill(empty, row, 0.8, seeds=2)
    fill(empty, rows[0], 0.8, seeds=1)
    asked = empty.missing([TASK], [SETTING], "leaders", 5)
    assert asked == [Run(TASK, SETTING, rows[0], 0.003, 1)]


@pytest.mark.slow
def test_a_failed_run_is_kept_and_counts_for_nothing(empty):
    for rate in design.RATES:
        run = Run(TASK, SETTING, "fedit", rate, 0)
        empty.add(run, {"error": "RuntimeError: broken"})
    assert analysis.cell(empty, TASK, SETTING, "fedit") is None
    assert study.tried({"strategy": "none such"})["error"].startswith("ConfigError")


def test_the_table_tells_a_real_difference_and_no_other(empty):
    rows = list(design.TABLES["ablation"])
    for row, chance in zip(rows, (0.80, 0.80, 0.90, 0.70), strict=True):
        fill(empty, row, chance)
    lines = analysis.table(empty, TASK, SETTING, rows, rows[0])
    text = {line.split("|")[1].strip(): line for line in lines[2:]}
    assert next(iter(text)) == rows[2]
    assert "**+0.1" in text[rows[2]]
    assert "**-0.09" in text[rows[3]]
    assert "+0.000 ± 0.000" in text[rows[1]]
    assert "| 0.500 | 2 | 0.003 | 5 |" in text[rows[0]]


def test_rows_of_one_seed_make_no_other_row_less_sure(empty):
    first, second, *others = [*design.TABLES["ablation"], "fedit"]
    for row, chance in ((first, 0.8), (second, 0.8005)):
        fill(empty, row, chance, seeds=3)
    for row in others:
        fill(empty, row, 0.5, seeds=1)
    rows = [first, second, *others]
    cells = [analysis.cell(empty, TASK, SETTING, row) for row in (second, first)]
    assert 0.05 / 4 < analysis.difference(*cells).p < 0.05
    lines = analysis.table(empty, TASK, SETTING, rows, first)
    text = {line.split("|")[1].strip(): line for line in lines[2:]}
    assert "**+0.001" in text[second]
    assert not any("**" in text[row] for row in others)


def test_flatness_is_what_the_last_third_of_the_rounds_adds(empty):
    fill(empty, "fedit", 1.0)
    assert analysis.flatness(empty, TASK, SETTING, ["fedit"]) == pytest.approx(0.9)


@pytest.mark.slow
def test_the_hits_of_a_run_are_those_of_its_rows_in_their_order(run_config):
    _, _, server = local_run.run(run_config | {"local-steps": 20})
    backbone, test = server.prepared.backbone, server.prepared.test
    assert test.order() != list(range(len(test)))
    for rank in (None, 2):
        backbone.install_merged(server.strategy.global_model(rank))
        backbone.model.eval()
        told = []
        for i in range(len(test)):
            batch = test.batch([i])
            logits = backbone.forward(batch).logits
            told.append(int(logits.argmax()) == int(batch["labels"]))
        assert server.evaluation.hits[rank] == told
        assert 0 < sum(told) < len(told)


@pytest.mark.slow
def test_a_real_run_counts_what_its_model_tells(tmp_path, tiny_model, small_data):
    config = {
        **laboratory.COMMON,
        "model": tiny_model,
        "dataset": small_data,
        "layers-to-transform": "-1",
        "min-partition-size": 1,
        "num-server-rounds": 1,
        "local-steps": 1,
        "dtype": "float32",
    }
    found = laboratory.run(config, clients=4)
    last = found["rows"][-1]
    for name, column in (("global", "accuracy"), ("smallest", "accuracy_r2")):
        hits = laboratory.unpack(found["right"][name])
        assert np.mean(hits) == pytest.approx(last[column], abs=1e-5)
    assert recorded.held_out(found) == last["held_out_accuracy"]
    json.dumps(found)


def test_the_steps_of_an_ablation_get_all_seeds(empty):
    names = list(design.rows("ablation", TASK))
    for place, name in enumerate(names):
        fill(empty, name, 0.5 + 0.1 * place, 2)
    left = empty.missing([TASK], [SETTING], "ablation", 5)
    assert {(run.row, run.seed) for run in left} == {
        (name, seed) for name in names for seed in (2, 3, 4)
    }
