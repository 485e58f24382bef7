"""What documents say of three times the rounds is what the runs say."""

from pathlib import Path

import pytest

from benchmarks.analysis import cell, difference, flatness, table
from benchmarks.design import TABLES
from benchmarks.recorded import Study

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "evidence" / "runs.jsonl"
PROBED, LANGUAGE = ("clinc150", "banking77", "cifar10"), ("e2e", "dolly")
TASKS, LONGER = (*PROBED, *LANGUAGE), "longer"
ROWS = list(TABLES["rounds"])


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(RUNS)


def text_of(name: str) -> str:
    """A document with its line ends taken for blanks."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


@pytest.mark.parametrize("task", TASKS)
def test_tables_are_those_of_the_runs(study, task):
    made = table(study, task, LONGER, ROWS, "ilora")
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert len(made) == 2 + len(ROWS)
    assert not [line for line in made if line not in told]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("row", ["fedit", "flora"])
def test_differences_in_sentences_are_those_of_the_runs(study, task, row):
    found = difference(*(cell(study, task, LONGER, r) for r in (row, "ilora")))
    # Of a language model the loss is told, where less is better.
    mean = -found.mean if task in LANGUAGE else found.mean
    words = f"{mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    if (task, row) == ("dolly", "flora"):  # told as a lead
        assert mean < 0
        assert found.excludes_zero
        words = words.removeprefix("-")
        assert words in text_of("README.md")
    assert words in text_of("docs/results.md").split("**More rounds**")[1]


def test_flora_is_level_on_the_others_and_at_these_bytes(study):
    more = []
    for task in TASKS:
        cells = [cell(study, task, LONGER, row) for row in ("flora", "ilora")]
        more.append(cells[0].megabytes() / cells[1].megabytes())
        level = not difference(*cells).excludes_zero
        assert level == (task in ("banking77", "cifar10", "e2e"))
    assert f"at {min(more):.1f} to {max(more):.1f} times the bytes" in text_of(
        "docs/results.md"
    )


def test_which_curves_are_flat(study):
    text = text_of("docs/results.md")
    gains = {row: [flatness(study, t, LONGER, [row]) for t in TASKS] for row in ROWS}
    first, second, third = (f"{gain:.4f}" for gain in gains["ilora"][:3])
    assert f"the last 12 add {first}, {second} and {third} to ILoRA" in text
    assert all(gain < 0.005 for gain in gains["ilora"][:3])
    for row, name in (("fedit", "FedIT"), ("flora", "flora")):
        assert any(gain > 0.005 for gain in gains[row][:3])
        told = ", ".join(f"{gain:.4f}" for gain in gains[row][:3])
        assert f"{name} ({told})" in text
    for row, name in (("ilora", "ILoRA's loss"), ("flora", "flora's")):
        e2e, dolly = (-gain for gain in gains[row][3:])
        assert min(e2e, dolly) > 0.005
        there = f"{e2e:.3f} and {dolly:.3f} nats off {name}"
        assert there in text or there.replace(" nats", "") in text


def test_what_is_said_of_three_times_those_rounds(study):
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    made = table(study, "e2e", "longest", ROWS, "ilora")
    assert not [line for line in made if line not in told]
    cells = [cell(study, "e2e", "longest", row) for row in ("flora", "ilora")]
    found = difference(*cells)
    assert found.seeds == 5
    assert not found.excludes_zero
    text = text_of("docs/results.md")
    words = f"{-found.mean:+.3f} ± {found.half:.3f}".replace("0.", ".")
    assert f"flora is level with ILoRA ({words})" in text
    assert f"{words} after 108 rounds" in text.split("**More rounds**")[1]
    gains = [-flatness(study, "e2e", "longest", [r]) for r in ("ilora", "flora")]
    told = "take {:.3f} nats off ILoRA's loss and {:.3f} off flora's".format(*gains)
    assert told in text
    # "A third": of what the last 12 of 36 rounds took.
    before = [-flatness(study, "e2e", LONGER, [r]) for r in ("ilora", "flora")]
    for now, then in zip(gains, before, strict=True):
        assert 0.2 < now / then < 0.4
