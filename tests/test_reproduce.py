"""A table that has been run anew is held against the committed one."""

import json
import math
import shutil
import subprocess
import sys

import pytest

from benchmarks.analysis import table
from benchmarks.design import rows
from benchmarks.recorded import COMMITTED, Study


def reproduce(out, task: str) -> str:
    """What the program says where no run is left to be made, started as a file."""
    (out / "data" / task).mkdir(parents=True)  # the data set, which nobody reads
    program = str(COMMITTED.parents[2] / "reproduce.py")
    given = ["ablation", "--tasks", task, "--data", "", "--out", str(out)]
    command = [sys.executable, program, *given]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("task", ["cifar10", "dolly"])
def test_the_rows_are_those_that_a_task_has(tmp_path, task):
    """Of a language model, those under the names of its other tables."""
    shutil.copy(COMMITTED, tmp_path / "runs.jsonl")
    said = reproduce(tmp_path, task)
    names = list(rows("ablation", task))
    for line in table(Study(COMMITTED), task, "skewed", names, names[0]):
        assert line in said.splitlines()
    committed = int(said.split(" runs of it are committed", 1)[0])
    assert committed >= 4 * 5
    assert f"{committed} of {committed} runs end with the committed" in said


def test_a_run_that_ends_elsewhere_is_told(tmp_path):
    changed = 0
    with (tmp_path / "runs.jsonl").open("w") as out:
        for line in COMMITTED.read_text().splitlines():
            found = json.loads(line)
            of = found["run"]
            if of["task"] == "dolly" and of["row"] == "+ qr start" and of["seed"] == 4:
                found["rows"][-1]["perplexity"] *= math.e
                changed += 1
            out.write(json.dumps(found) + "\n")
    assert changed == 1
    said = reproduce(tmp_path, "dolly")
    assert "the largest difference is 1.0000, of Run(task='dolly'" in said
    assert "row='+ qr start'" in said
