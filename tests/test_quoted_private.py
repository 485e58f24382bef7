"""What is said of accuracy under differential privacy is what its runs came to."""

from pathlib import Path

import pytest

from benchmarks import private_table
from benchmarks.private import Record
from benchmarks.private_design import TASKS, UNITS

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "benchmarks" / "results" / "private"
TOLD = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("unit", UNITS.values(), ids=list(UNITS))
def test_tables_are_those_of_the_runs(unit):
    record = Record(RUNS / unit.file, unit)
    tasks = [t for t in TASKS if any(run.task == t for run in record.results)]
    if f"| {tasks[0] if tasks else ''} | rate, clip |" not in TOLD:
        pytest.skip(f"no table of what hides a {unit.dp} is told yet")
    for task in tasks:
        lines = private_table.table(record, task)
        assert not [line for line in lines if line not in TOLD.splitlines()]
        assert f"untrained {private_table.untrained(record, task):.3f}" in TOLD
    assert f"{len(record.results)} runs" in TOLD
