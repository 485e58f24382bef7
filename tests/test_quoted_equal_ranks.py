"""What documents say of clients of one rank is what the runs say."""

from pathlib import Path

import pytest

from benchmarks.analysis import cell, difference, table
from benchmarks.design import TABLES
from benchmarks.recorded import Study

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "evidence" / "runs.jsonl"
INTENTS, LANGUAGE = "clinc150", ("e2e", "dolly")
OTHERS, EQUAL = ("banking77", "cifar10", *LANGUAGE), "equal ranks"


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(RUNS)


def text_of(name: str) -> str:
    """A document with its line ends taken for blanks."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def said_of_equal_ranks() -> str:
    after = text_of("docs/results.md").split("- **Equal ranks** (8 for every client)")
    return after[1].split("- **More rounds**")[0]


def gap(study, task, row):
    """Less ILoRA; of losses, where less is better, with the sign of losses."""
    found = difference(*(cell(study, task, EQUAL, r) for r in (row, "ilora")))
    return (-found.mean if task in LANGUAGE else found.mean), found


@pytest.mark.parametrize(
    ("task", "name"), [(INTENTS, "leaders"), *[(task, "rounds") for task in OTHERS]]
)
def test_tables_are_those_of_the_runs(study, task, name):
    rows = list(TABLES[name])
    made = table(study, task, EQUAL, rows, "ilora")
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert len(made) == 2 + len(rows)
    assert not [line for line in made if line not in told]


@pytest.mark.parametrize("row", ["fedit", "flora"])
@pytest.mark.parametrize("task", [INTENTS, *OTHERS])
def test_differences_in_sentences_are_those_of_the_runs(study, task, row):
    mean, found = gap(study, task, row)
    words = f"{mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    if (task in LANGUAGE, row) == (True, "flora"):  # told as a lead
        words = words.removeprefix("-")
        assert words in text_of("README.md")
    assert words in said_of_equal_ranks()


@pytest.mark.parametrize("row", ["hetlora", "fedex-lora", "flexlora"])
def test_other_leaders_on_the_intents(study, row):
    mean, found = gap(study, INTENTS, row)
    words = f"{mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    assert words in said_of_equal_ranks()


def test_who_is_ahead_and_who_is_level(study):
    ahead = [t for t in (INTENTS, *OTHERS) if gap(study, t, "flora")[1].excludes_zero]
    assert ahead == [INTENTS, *OTHERS]
    for task in ahead:
        better = gap(study, task, "flora")[1].mean > 0
        assert better == (task in LANGUAGE)
    behind = [t for t in (INTENTS, *OTHERS) if gap(study, t, "fedit")[1].excludes_zero]
    assert behind == ["banking77"]
    for task in LANGUAGE:
        parts = [
            cell(study, task, EQUAL, row).megabytes() for row in ("flora", "ilora")
        ]
        assert f"{parts[0] / parts[1]:.1f} times the bytes" in said_of_equal_ranks()


def test_what_is_better_nowhere_is_said_of_unequal_ranks():
    for name in ("README.md", "docs/results.md"):
        before = text_of(name).split("no strategy is better than ILoRA")[0]
        assert "nequal ranks" in before[-20:], name
