"""What is said of accuracy under differential privacy is what its runs came to."""

import statistics
from pathlib import Path

import pytest

from benchmarks import private_table
from benchmarks.private import Record
from benchmarks.private_design import CLIENT, LEVELS, RECORD, TASKS, UNITS

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "private"
TOLD = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
WORDS, TASK = " ".join(TOLD.split()), TASKS[0]


@pytest.mark.parametrize("unit", UNITS.values(), ids=list(UNITS))
def test_tables_are_those_of_the_runs(unit):
    record = Record(RUNS / unit.file, unit)
    tasks = [t for t in TASKS if any(run.task == t for run in record.results)]
    assert tasks
    for task in tasks:
        lines = private_table.table(record, task)
        assert not [line for line in lines if line not in TOLD.splitlines()]
        assert f"untrained {private_table.untrained(record, task):.3f}" in TOLD
    assert f"{len(record.results)} runs" in TOLD


@pytest.fixture(scope="module")
def clients() -> Record:
    return Record(RUNS / CLIENT.file, CLIENT)


@pytest.fixture(scope="module")
def by_row() -> Record:
    return Record(RUNS / RECORD.file, RECORD)


def told(value: float, digits: int = 3) -> str:
    """A number without the nought before its point."""
    return f"{value:.{digits}f}".removeprefix("0")


def test_nobody_is_ahead_of_the_default(clients):
    rows = private_table.run_of(clients, TASK)
    found = private_table.gaps(clients, TASK, rows, LEVELS)
    assert not [
        k for k, (gap, _) in found.items() if gap.excludes_zero and gap.mean < 0
    ]
    behind = [v for v in LEVELS if found["fedit", v][0].excludes_zero]
    assert behind == ["4", "8", "none"]
    assert [v for v in behind if found["fedit", v][1] < 0.05] == ["8"]
    assert not [v for v in LEVELS if found["ffa-lora", v][0].excludes_zero]
    means = [found["fedit", v][0].mean for v in behind]
    ends = f"{min(means):.3f} to {max(means):.3f} nats at epsilon 4 and 8"
    assert f"FedIT is behind it by {ends.replace('0.', '.')}, and without" in WORDS


def test_what_noise_costs_is_that_of_the_runs(clients):
    def cost(row: str, level: str) -> str:
        some, none = (
            statistics.fmean(private_table.losses(clients, TASK, row, v).values())
            for v in (level, "none")
        )
        return f"{some - none:.2f}".removeprefix("0")

    rows = ("ilora", "fedit", "ffa-lora")
    one, two = ([cost(row, level) for row in rows] for level in ("1", "2"))
    assert (
        f"to epsilon 1 it loses {one[0]} nats, FedIT {one[1]} and FFA-LoRA {one[2]}; "
        f"to epsilon 2 {two[0]}, {two[1]} and {two[2]}."
    ) in WORDS
    ends = cost("ilora-qr", "1"), cost("ilora-qr", "8")
    assert f"leading columns lose {ends[0]} at epsilon 1 and {ends[1]} at 8" in WORDS
    assert f"(`flexlora`) loses {cost('flexlora', '1')} at epsilon 1" in WORDS


def test_nobody_is_ahead_of_the_default_by_row(by_row):
    found = private_table.gaps(by_row, TASK, private_table.run_of(by_row, TASK), LEVELS)
    assert not [k for k, (g, _) in found.items() if g.excludes_zero and g.mean < 0]
    fedit, ffa = (
        {v: found[row, v] for v in LEVELS if found[row, v][0].excludes_zero}
        for row in ("fedit", "ffa-lora")
    )
    assert list(fedit) == ["4", "none"]
    assert list(ffa) == ["2", "4", "8", "none"]
    assert [v for v, (_, p) in fedit.items() if p < 0.05] == ["none"]
    assert [v for v, (_, p) in ffa.items() if p < 0.05] == ["8", "none"]
    four, none = (told(gap.mean) for gap, _ in fedit.values())
    assert f"behind it by {four} nats at epsilon 4 and {none} without noise" in WORDS
    ends = [gap.mean for gap, _ in ffa.values()]
    assert f"FFA-LoRA by {told(min(ends))} to {told(max(ends))} from epsilon 2" in WORDS
    assert f"FedIT {told(-found['fedit', '1'][0].mean)} below it" in WORDS


def test_what_noise_costs_by_row_is_that_of_the_runs(by_row):
    def mean(row: str, level: str) -> float:
        ends = private_table.losses(by_row, TASK, row, level).values()
        return statistics.fmean(ends)

    rows = ("ilora", "fedit", "ffa-lora")
    one, two, three = (told(mean(row, "1") - mean(row, "none"), 2) for row in rows)
    said = f"to epsilon 1 it loses {one} nats, FedIT {two} and FFA-LoRA {three}."
    assert said in WORDS
    for row in rows[1:]:  # clipped steps at a higher rate go further than unclipped
        assert max(mean(row, v) for v in ("4", "8")) < mean(row, "none")
