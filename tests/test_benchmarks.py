"""The benchmarks run: on small sizes, for their form and not for their numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def call(*words: str) -> str:
    command = [sys.executable, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_truncation_prints_a_ratio_for_every_method():
    sizes = ("--size", "96", "--rho", "12", "--rank", "4", "--threads", "1")
    rows = call(str(BENCHMARKS / "truncation.py"), *sizes).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["qr", "pivoted-qr", "svd"]
    assert float(rows[0].split("|")[5]) < 1e-3


@pytest.mark.slow
def test_defaults_runs_resumes_and_prints_a_table(tmp_path, tiny_model, small_data):
    changes = {
        "model": tiny_model,
        "dataset": small_data,
        "test-split": "test",
        "num-server-rounds": 1,
        "local-steps": 1,
        "min-partition-size": 1,
    }
    words = [str(BENCHMARKS / "defaults.py"), "--out", str(tmp_path), "--seeds", "2"]
    words += ["--workers", "1", "--only", "default,decomposition svd"]
    for key, value in changes.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    first = call(*words)
    assert "| default | " in first
    results = (tmp_path / "results.jsonl").read_text()
    assert len(results.splitlines()) == 4
    assert call(*words).splitlines()[-1] == first.splitlines()[-1]
    assert (tmp_path / "results.jsonl").read_text() == results
