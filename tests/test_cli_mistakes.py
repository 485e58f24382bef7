"""Mistakes in folders end a command with 2 and a line; what a script reads is JSON."""

import json
import math
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app, terminal
from ilora_app.cli.run_session import Outcome
from ilora_app.compare.request import FILE
from ilora_app.runs import history
from tests.own_processes import free_port


def refused(*words: object) -> str:
    """What the command says as it ends with 2, with nothing on stdout."""
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    return result.stderr


def test_a_folder_that_cannot_be_made():
    place = "/proc/no-folder-is-made-here"
    words = ("--engine", "local", "--strategies", "ilora", "--json")
    assert f"--out {place}: cannot be written" in refused(
        "compare", "--out", place, *words
    )
    assert f"--out {place}" in refused("keys", "--out", place, "--host", "a.example")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"set": [], "nonsense": 1}'])
def test_a_comparison_that_cannot_be_read(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    said = refused("compare", "--out", tmp_path, "--report-only")
    assert f"{tmp_path / FILE} cannot be read" in said


def test_a_number_of_workers_that_is_none(tmp_path):
    words = ("--engine", "local", "--workers", "-1")
    assert "--workers" in refused("compare", "--out", tmp_path / "x", *words)
    assert not (tmp_path / "x").exists()


def test_a_home_that_nobody_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nobody = "~no-such-user/x"
    assert "expected a folder" in refused("runs", "list", "--root", nobody)
    assert "there is no run" in refused("runs", "show", nobody)
    assert f"--config '{nobody}'" in refused("run", "--config", nobody)
    assert f"--presets '{nobody}'" in refused(
        "compare", "--out", "x", "--engine", "local", "--presets", nobody
    )
    for command in ("export", "report"):
        assert "there is no run" in refused(command, nobody, "--out", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_elsewhere_than_all_runs_are(tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_RUNS", str(tmp_path / "runs"))
    said = refused("run", "--out", tmp_path / "elsewhere")
    assert f"expected a folder under {tmp_path / 'runs'}" in said


def test_a_run_that_may_not_be_removed(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    folder.mkdir()
    keys = ("strategy", "num-server-rounds", "output-dir")
    (folder / "config.toml").write_text("".join(f'{key} = ""\n' for key in keys))
    (folder / "events.jsonl").write_text("")

    def forbidden(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(history.shutil, "rmtree", forbidden)
    said = refused("runs", "rm", "one", "--root", tmp_path, "--yes", "--json")
    assert "Permission denied" in said
    assert folder.is_dir()


def test_numbers_that_are_none_are_null():
    bad = [math.nan, math.inf, {"x": -math.inf}, (1.5, math.nan)]
    assert json.loads(terminal.as_json(bad)) == [None, None, {"x": None}, [1.5, None]]
    found = json.loads(Outcome(metrics={"loss": math.nan, "accuracy": 0.5}).line())
    assert found["metrics"] == {"loss": None, "accuracy": 0.5}


@pytest.mark.parametrize("address", ["here", "ray://head:10001", "head:0", ":6379"])
def test_an_address_that_is_of_no_ray_cluster(address):
    said = refused("run", "--ray-address", address, "--rounds", "0")
    assert f"--ray-address {address}: expected auto, or HOST:PORT" in said
    assert "num-server-rounds = 0" in said


def test_a_ray_cluster_that_does_not_answer_and_a_superlink_beside_one():
    there = f"127.0.0.1:{free_port()}"
    said = refused("run", "--ray-address", there)
    assert f"--ray-address {there}: expected auto, or HOST:PORT" in said
    assert "refused" in said
    said = refused("run", "--ray-address", there, "--superlink", "mine")
    assert "no --superlink beside it" in said


def test_a_folder_of_no_run_is_told_before_torch_is_loaded(tmp_path):
    code = (
        "import sys\nfrom ilora_app.cli import app\n"
        "try:\n    app(['export', sys.argv[1], '--out', sys.argv[2]])\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert "expected a run folder, with a config.toml in it" in done.stderr
