"""The notebook runs from top to bottom, as it stands."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.own_processes import environment

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "notebook" / "first_federation.ipynb"


def test_it_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]


@pytest.mark.long
def test_it_runs_and_beats_its_linear_probe(tmp_path, monkeypatch):
    for name, value in environment(tmp_path / "flwr").items():
        monkeypatch.setenv(name, value)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, resources=resources).execute()
    # Beside it, warnings of libraries.
    [answer] = [one for one in notebook.cells[-1].outputs if "data" in one]
    assert answer["data"]["text/plain"] == "'transfer'"
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index("accuracy")
    probe, *_, last = [float(line.split(",")[place]) for line in lines[1:]]
    assert last > probe > 0.8
