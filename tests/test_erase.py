"""``ilora runs erase``: what could tell of nodes' data goes, the rest stays."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.runs import erase, lock
from ilora_app.runs.erase import keys_of
from tests.conftest import read_events
from tests.finished import ilora
from tests.local_run import run


@pytest.fixture
def finished(run_config) -> tuple[Path, str]:
    """A run with control variates of single nodes on the server and on the nodes."""
    folder, _, server = run(run_config | {"drift-correction": "control-variates"}, 3)
    assert list((folder / "parts").iterdir())
    return folder, server.prepared.run_key


def states(key: str) -> Path:
    return Path(os.environ["ILORA_STATE"]) / key


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.mark.slow
def test_what_is_of_nodes_goes_and_the_rest_stays(finished):
    folder, key = finished
    (folder / ".tmp1234").write_bytes(b"replies of a killed process")
    before = bytes_of(folder)
    result = ilora("runs", "erase", folder, "--yes", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    gone = {Path(item["path"]).name for item in said["removed"]}
    assert gone == {"checkpoints", "parts", ".tmp1234", key}
    assert all(item["bytes"] > 0 for item in said["removed"])
    assert said["on_nodes"] == [f"ilora runs erase --key {key}"]
    assert not states(key).exists()
    after = bytes_of(folder)
    changed = {"events.jsonl", "privacy.json", "privacy.html", ".lock"}
    for name, data in before.items():
        part = name.split("/")[0]
        assert (name not in after) is (part in gone), name
        if name in after and name not in changed:
            assert after[name] == data, name
    (event,) = read_events(folder, "erased")
    assert set(event["removed"]) == gone
    page = json.loads((folder / "privacy.json").read_text())
    assert page["erase"]["erased"] == [event["time"]]
    assert not [s for s in page["stored"] if s["erased_by_command"] and s["there"]]
    # A second time there is nothing, and the key is still known.
    again = ilora("runs", "erase", folder, "--yes")
    assert "nothing of it is here" in again.output
    assert f"on each node's machine: ilora runs erase --key {key}" in again.output


@pytest.mark.slow
def test_on_a_node_by_the_key(finished, tmp_path):
    folder, key = finished
    result = ilora("runs", "erase", "--key", key, "--yes", "--json")
    (item,) = json.loads(result.stdout)["removed"]
    assert item["path"] == str(states(key))
    assert not states(key).exists()
    assert (folder / "checkpoints").is_dir()
    words = ("runs", "erase", "--key", key, "--state-path", tmp_path, "--yes")
    assert "nothing of it is here" in ilora(*words).output


@pytest.mark.slow
def test_all_is_the_folder_too(finished):
    folder, key = finished
    result = ilora("runs", "erase", folder, "--all", "--yes")
    assert result.exit_code == 0, result.output
    assert not folder.exists()
    assert not states(key).exists()


@pytest.mark.slow
def test_it_asks_and_refuses_while_a_run_is_at_work(finished):
    folder, key = finished
    words = ["runs", "erase", str(folder)]
    result = CliRunner().invoke(app, words, input="n\n")
    assert "nothing is removed" in result.output
    assert (folder / "checkpoints").is_dir()
    holder = lock.hold(folder)
    result = ilora(*words, "--yes")
    assert result.exit_code == 2
    assert "is at work in" in result.output
    assert states(key).is_dir()
    holder.close()
    result = CliRunner().invoke(app, words, input="y\n")
    assert result.exit_code == 0
    assert not (folder / "checkpoints").exists()
    assert not (folder / "parts").exists()


def made(folder: Path, **event: Any) -> Path:
    folder.mkdir()
    line = json.dumps({"time": 1.0, "event": "node-state"} | event)
    (folder / "events.jsonl").write_text(line + "\n")
    keys = 'strategy = "ilora"\nnum-server-rounds = 1\noutput-dir = ""\n'
    (folder / "config.toml").write_text(keys)
    return folder


@pytest.mark.parametrize("key", ["../..", "", "0123", "0123456789ABCDEF", 7, None])
def test_a_key_that_is_none_removes_nothing(tmp_path, key):
    folder = made(tmp_path / "run", key=key)
    assert keys_of(folder) == []
    if key:
        result = ilora("runs", "erase", "--key", key, "--yes")
        assert result.exit_code == 2
        assert "16 hexadecimal digits" in result.output


def test_links_are_removed_and_not_followed(tmp_path):
    folder, other = made(tmp_path / "run"), tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    (folder / "checkpoints").symlink_to(other)
    (tmp_path / "link").symlink_to(folder)
    assert ilora("runs", "erase", tmp_path / "link", "--yes").exit_code == 2
    assert ilora("runs", "erase", folder, "--yes").exit_code == 0
    assert (other / "precious").is_file()
    assert not (folder / "checkpoints").is_symlink()


def test_all_removes_nothing_of_a_folder_that_cannot_go(tmp_path, monkeypatch):
    folder = made(tmp_path / "run")
    (folder / "checkpoints").mkdir()
    (folder / "parts").mkdir()
    words = ("runs", "erase", folder, "--all", "--yes")
    monkeypatch.chdir(folder / "parts")
    within = ilora(*words)
    assert within.exit_code == 2
    assert "holds" in within.output
    monkeypatch.chdir(tmp_path)
    other = made(folder / "other")
    beside = ilora(*words)
    assert beside.exit_code == 2
    assert "holds other runs" in beside.output
    assert (folder / "checkpoints").is_dir()
    assert (folder / "parts").is_dir()
    assert other.is_dir()


def test_what_went_is_said_and_recorded_where_the_folder_stays(tmp_path, monkeypatch):
    folder = made(tmp_path / "run")
    (folder / "checkpoints").mkdir()
    real = erase.erase

    def another_run_comes(items):
        found = real(items)
        made(folder / "other")
        return found

    monkeypatch.setattr(erase, "erase", another_run_comes)
    result = ilora("runs", "erase", folder, "--all", "--yes", "--json")
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert [Path(item["path"]).name for item in said["removed"]] == ["checkpoints"]
    (failed,) = said["failed"]
    assert failed["path"] == str(folder)
    assert "holds other runs" in failed["reason"]
    (event,) = read_events(folder, "erased")
    assert event["removed"] == ["checkpoints"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected RUN or --key"),
        (["x", "--key", "y"], "expected RUN or --key"),
        (["--key", "0" * 16, "--all", "--yes"], "--all: expected with RUN"),
        (["x", "--json"], "--json: expected with --yes"),
        (["nowhere", "--yes"], "there is no run 'nowhere'"),
    ],
)
def test_mistakes(words, said):
    result = ilora("runs", "erase", *words)
    assert result.exit_code == 2
    assert said in result.output
