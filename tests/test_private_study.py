"""Accuracy under differential privacy: which runs are asked for, and with what."""

from pathlib import Path

import pytest

from benchmarks import private
from benchmarks.private import Record, Run
from benchmarks.private_design import (
    CLIENT,
    LADDER,
    LEVELS,
    RECORD,
    TASKS,
    UNITS,
)
from ilora_app import methods
from ilora_app.federation import validity
from ilora_app.privacy.budget import Budget
from ilora_app.settings import Settings, parsing

BEST = CLIENT.rates[0], LADDER[LADDER.index(CLIENT.clips[0]) - 1]


@pytest.fixture
def empty(tmp_path: Path) -> Record:
    return Record(tmp_path / "private.jsonl")


def result(run: Run, best: tuple[float, float] = BEST) -> dict:
    """The further from the best on the ladder, the worse."""
    steps = abs(LADDER.index(run.rate) - LADDER.index(best[0]))
    if run.clip:
        steps += abs(LADDER.index(run.clip) - LADDER.index(best[1]))
    return {"rows": [{"accuracy": 0.9**steps, "held_out_accuracy": 0.9**steps}]}


def run_grids(record: Record, asked, best: tuple[float, float] = BEST) -> int:
    """Run what is asked for until a row's choice is known; how many runs that took."""
    tasks, (row,), levels, _ = asked
    count = 0
    while left := [r for v in levels for r in record.chosen(tasks[0], row, v)[1]]:
        for run in dict.fromkeys(left):
            record.add(run, result(run, best))
            count += 1
    return count


@pytest.mark.parametrize(
    ("unit", "row"), [(unit, row) for unit in UNITS.values() for row in unit.rows]
)
@pytest.mark.parametrize("level", LEVELS)
def test_every_row_is_a_run_config_that_the_app_takes(unit, row, level, tmp_path):
    for task in TASKS:
        (tmp_path / task).mkdir()
        run = Run(task, row, level, 0.003, 0.0 if level == "none" else 1.0, 0)
        config = private.config_of(run, tmp_path, tmp_path, unit)
        settings, wrong = methods.parse({**parsing.dump(Settings()), **config})
        assert not wrong
        assert not validity.problems(settings)
        assert settings.privacy.dp_delta < 1 / unit.clients
        if level != "none" and unit is CLIENT:
            budget = Budget.of(settings)
            assert budget.spent(settings.run.num_server_rounds) <= float(level)


def test_grids_are_run_before_what_follows_from_them(empty):
    asked = TASKS[:1], ("ilora",), ("1", "4", "none"), 2
    first = empty.missing(*asked)
    assert {run.level for run in first} == {"4", "none"}
    assert len(first) == len(CLIENT.rates) * (len(CLIENT.clips) + 1)
    # The best clip is one below those tried first, and what is below it is worse.
    assert run_grids(empty, asked) > len(first)
    tried = {run.clip for run in empty.results if run.level == "4"}
    assert min(tried) < BEST[1]
    left = empty.missing(*asked)
    assert {(run.level, run.seed) for run in left} == {
        ("1", 0),
        ("1", 1),
        ("4", 1),
        ("none", 1),
    }
    assert {(run.rate, run.clip or BEST[1]) for run in left} == {BEST}
    for run in left:
        empty.add(run, result(run))
    assert Record(empty.file).missing(*asked) == []


def test_where_nodes_measure_nothing_the_choice_is_of_other_rows(tmp_path):
    record = Record(tmp_path / "record.jsonl", RECORD)
    asked = TASKS[:1], ("fedit",), ("4",), 1
    first = record.missing(*asked)
    assert {run.seed for run in first} == {-1}
    for run in first:
        (tmp_path / run.task).mkdir(exist_ok=True)
        config = private.config_of(run, tmp_path, tmp_path, RECORD)
        assert (config["train-split"], config["seed"]) == ("train[:90%]", 0)
    run_grids(record, asked, (3.0, 0.1))
    [last] = record.missing(*asked)
    assert (last.rate, last.clip, last.seed) == (3.0, 0.1, 0)
    assert "train-split" not in private.config_of(last, tmp_path, tmp_path, RECORD)
