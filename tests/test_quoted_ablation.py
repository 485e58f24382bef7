"""What is said of the paper's steps, one by one."""

import pytest

from benchmarks import laboratory
from benchmarks.analysis import cell, difference, table
from benchmarks.design import SEEDS, rows
from benchmarks.recorded import Study
from ilora_app.compare.intervals import Difference
from tests.test_quoted_study import BANKING, CIFAR, INTENTS, ROOT, RUNS, text_of

TASKS = (INTENTS, BANKING, CIFAR, "e2e", "dolly")
STEPS = ("QR start", "concatenated QR", "control variates")
LINES = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(RUNS)


def language(task: str) -> bool:
    return laboratory.TASKS[task].get("task") == "causal-lm"


def less(study: Study, task: str, place: int, other: int) -> Difference:
    """Of two steps, the later one first."""
    names = list(rows("ablation", task))
    cells = [cell(study, task, "skewed", names[k]) for k in (place, other)]
    assert all(len(found.runs) == SEEDS for found in cells if found)
    return difference(*cells)


def said(study: Study, task: str, place: int, other: int) -> str:
    """A difference as it is written; of a loss, where less is better, turned round."""
    gap = less(study, task, place, other)
    mean = -gap.mean if language(task) else gap.mean
    return f"{mean:+.3f} ± {gap.half:.3f}".replace("0.", ".")


@pytest.mark.parametrize("task", TASKS)
def test_tables_are_those_of_the_runs(study, task):
    names = list(rows("ablation", task))
    made = table(study, task, "skewed", names, names[0])
    assert len(made) == 2 + len(names)
    assert not [line for line in made if line not in LINES]


def test_the_table_of_steps_is_that_of_the_runs(study):
    pairs = {step: (k + 1, k) for k, step in enumerate(STEPS)} | {"all three": (3, 0)}
    for title, (place, other) in pairs.items():
        cells = []
        for task in TASKS:
            words = said(study, task, place, other)
            sure = less(study, task, place, other).excludes_zero
            cells.append(f"**{words}**" if sure else words)
        assert f"| {title} | {' | '.join(cells)} |" in LINES


def test_control_variates_do_it_where_there_is_a_head_and_cost_where_there_is_none(
    study,
):
    text = text_of("docs/results.md")
    for task in TASKS:
        last = less(study, task, 3, 2)
        assert last.excludes_zero
        assert (last.mean < 0) == language(task)
        for place in (1, 2):
            gap = less(study, task, place, place - 1)
            helps = gap.excludes_zero and gap.mean > 0
            assert helps == ((task, place) == ("dolly", 2)), (task, place)
        if language(task):
            whole = less(study, task, 3, 0)
            assert whole.excludes_zero
            assert whole.mean < 0
            assert said(study, task, 3, 0) in text
            assert said(study, task, 3, 2) in text
            back = said(study, task, 2, 1).removeprefix("-")
            assert task != "dolly" or f"takes {back} of that back" in text
        else:
            for place in (1, 2, 3):
                assert said(study, task, place, place - 1) in text
