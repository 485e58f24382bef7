"""``ilora runs``: list, show and rm over real run folders."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from ilora_app.cli import app
from ilora_app.runs import history
from tests.local_run import run


def runs(*words: str, **more) -> Result:
    return CliRunner().invoke(app, ["runs", *words], **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_model, small_data):
    """A folder with one real run in it, below another folder."""
    from ilora_app.settings import Settings, parsing

    root = tmp_path_factory.mktemp("runs")
    settings = parsing.dump(Settings()) | {
        "model": tiny_model, "dataset": small_data, "client-ranks": "2,4",
        "output-dir": str(root / "group" / "one"), "num-server-rounds": 2,
        "local-steps": 2, "min-partition-size": 5, "eval-batch-size": 100,
    }  # fmt: skip
    run(settings, nodes=2)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it, and beside the run a folder that is none."""
    shutil.copytree(made, tmp_path / "runs")
    other = tmp_path / "runs" / "notes"
    other.mkdir()
    (other / "events.jsonl").write_text("{}\n")
    (other / "config.toml").write_text('strategy = "x"\n')
    return tmp_path / "runs"


def with_events(root, name: str, *events: dict) -> None:
    """A copy of the run under another name that ended in another way."""
    folder = root / name
    shutil.copytree(root / "group" / "one", folder)
    file = folder / "events.jsonl"
    lines = file.read_text().splitlines()[:-1]
    lines += [json.dumps({"time": 9e9, **event}) for event in events]
    file.write_text("\n".join(lines) + "\n")


def test_list_has_what_metrics_csv_has(root):
    result = runs("list", "--root", str(root), "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)
    rows = (root / "group/one/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("accuracy")
    values = [float(row.split(",")[column]) for row in rows[1:]]
    assert found["id"] == "group/one"
    assert (found["round"], found["rounds"]) == (2, 2)
    assert (found["last"], found["best"]) == (values[-1], max(values))
    assert (found["status"], found["strategy"]) == ("finished", "ilora")


def test_list_writes_one_line_a_run_and_says_where_there_is_none(root, tmp_path):
    lines = runs("list", "--root", str(root)).output.splitlines()
    assert len(lines) == 2
    assert "group/one" in lines[1]
    assert "2/2" in lines[1]
    assert "finished" in lines[1]
    (tmp_path / "empty").mkdir()
    assert "no runs in" in runs("list", "--root", str(tmp_path / "empty")).output
    wrong = runs("list", "--root", str(tmp_path / "absent"))
    assert wrong.exit_code == 2
    assert "expected a folder" in wrong.output


def test_how_a_run_ended(root):
    begun = {"event": "started", "run": 1, "rounds": 2, "host": socket.gethostname()}
    with_events(root, "failed", {"event": "failed", "reason": "no memory"})
    with_events(root, "running", begun | {"pid": os.getpid()})
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with_events(root, "gone", begun | {"pid": ended.pid})
    with_events(root, "elsewhere", begun | {"pid": os.getpid(), "host": "another"})
    with (root / "failed" / "events.jsonl").open("a") as file:
        file.write('{"event": "fini')
    found = {run.id: run for run in history.listed(root)}
    assert {name: run.status for name, run in found.items()} == {
        "group/one": "finished", "failed": "failed", "running": "running",
        "gone": "stopped", "elsewhere": "stopped",
    }  # fmt: skip
    assert found["failed"].reason == "no memory"


def test_show_has_rounds_failures_and_config(root):
    left_out = {"event": "reply-left-out", "round": 1, "node": 5, "reason": "nan"}
    with_events(root, "two", left_out, {"event": "finished"})
    text = runs("show", "two", "--root", str(root)).output
    for part in ("round 2/2  accuracy 0.", "round 1: node 5 is left out: nan"):
        assert part in text, part
    assert 'client-ranks = "2,4"' in text
    data = json.loads(runs("show", "two", "--root", str(root), "--json").output)
    assert data["config"]["client-ranks"] == "2,4"
    assert [row["round"] for row in data["rows"]] == [0, 1, 2]
    assert data["rounds"] == 2, "as list has it"
    counts = [data["rows"][1][key] for key in ("round", "asked", "clients")]
    assert counts == [1, 2, 2]
    assert all(type(count) is int for count in counts)
    assert data["failures"][0]["reason"] == "nan"


def test_a_beginning_is_enough_where_one_run_has_it(root):
    with_events(root, "group2", {"event": "finished"})
    assert history.find("group/", root) == root / "group" / "one"
    assert history.find(str(root / "group2"), root) == root / "group2"
    result = runs("show", "gro", "--root", str(root))
    assert result.exit_code == 2
    assert "beginning of group/one, group2" in result.output
    for name, expected in (("nope", "there is no run"), ("notes", "not the folder")):
        result = runs("show", name, "--root", str(root))
        assert result.exit_code == 2
        assert expected in result.output


def test_rm_asks_and_removes(root):
    folder = root / "group" / "one"
    words = ("rm", "group/one", "--root", str(root))
    result = runs(*words, input="n\n")
    assert folder.is_dir()
    assert f"kept {folder}" in result.output
    assert runs(*words, input="").exit_code != 0, "no answer is no yes"
    assert folder.is_dir()
    assert runs(*words, "--yes").exit_code == 0
    assert not folder.exists()
    assert (root / "notes").is_dir()


def test_rm_refuses_what_is_no_run_or_at_work(root, monkeypatch):
    begun = {"event": "started", "run": 1, "rounds": 2, "pid": os.getpid()}
    with_events(root, "busy", begun | {"host": socket.gethostname()})
    (root / "link").symlink_to(root / "group" / "one")
    for name, expected in (
        ("notes", "not the folder of a run"),
        ("group", "not the folder of a run"),
        (".", "not the folder of a run"),
        ("..", "not the folder of a run"),
        ("", "there is no run"),
        ("link", "is a link"),
        ("busy", "is at work"),
    ):
        before = sorted(root.rglob("*"))
        result = runs("rm", name, "--yes", "--root", str(root))
        assert result.exit_code == 2, (name, result.output)
        assert expected in result.output, name
        assert sorted(root.rglob("*")) == before
    monkeypatch.chdir(root / "group" / "one")
    result = runs("rm", "group/one", "--yes", "--root", str(root))
    assert result.exit_code == 2
    assert "holds" in result.output


def test_a_script_removes_and_is_not_asked(root):
    words = ("rm", "group/one", "--root", str(root), "--json")
    result = runs(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "expected with --yes" in result.stderr
    result = runs(*words, "--yes")
    assert json.loads(result.stdout) == {"removed": [str(root / "group" / "one")]}
    assert not (root / "group" / "one").exists()


def test_rm_wants_the_whole_id(root):
    result = runs("rm", "group/o", "--yes", "--root", str(root))
    assert result.exit_code == 2
    assert "'group/o' is the beginning of group/one" in result.output
    assert (root / "group" / "one").is_dir()


def test_rm_takes_the_latest(root):
    with_events(root, "new", {"event": "finished", "time": 4e9})
    result = runs("rm", "latest", "--yes", "--json", "--root", str(root))
    assert json.loads(result.stdout) == {"removed": [str(root / "new")]}
    assert (root / "group" / "one").is_dir()


def test_one_that_is_absent_keeps_all_others(root):
    result = runs("rm", "group/one", "nope", "--yes", "--root", str(root))
    assert result.exit_code == 2
    assert (root / "group" / "one").is_dir()


BROKEN = {
    "metrics.csv": [
        b"\xff\xfe,round\n1,2\n",
        b"round,loss\n0,1,2,3,4\n1\n",
        b'round,loss\n0,1.5\n1,"' + b"x" * 200_000,
        b"round\n" + b"9" * 5000,
        b"",
    ],
    "events.jsonl": [
        b"\xff\xfe\n",
        b'{"event": "started"}\n{"time": "soon", "event": "finished"}\n',
        b'{"time": 1e300, "event": "started", "rounds": "x", "pid": []}\n[1]\nnull\n',
        b'{"time": 1.0, "event": "class-counts"}\n{"time": 1, "event": "member"}\n',
        b'{"time": 1.0, "event": "clients-evaluated", "clients": 3}\n',
    ],
    "config.toml": [
        b'strategy = "x"\nnum-server-rounds = "many"\noutput-dir = 2020-01-01\n',
    ],
}


@pytest.mark.parametrize(
    ("file", "data"), [(name, data) for name in BROKEN for data in BROKEN[name]]
)
def test_a_broken_folder_harms_no_other(root, file, data):
    broken = root / "broken"
    shutil.copytree(root / "group" / "one", broken)
    (broken / file).write_bytes(data)
    result = runs("list", "--root", str(root), "--json")
    assert result.exit_code == 0, result.exception
    assert {run["id"] for run in json.loads(result.output)} == {"broken", "group/one"}
    for more in ([], ["--json"]):
        result = runs("show", "broken", "--root", str(root), *more)
        assert result.exit_code == 0, result.exception
    result = CliRunner().invoke(app, ["report", str(broken)])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code in (0, 2)
    assert str(broken) in result.output
    result = runs("rm", "broken", "--root", str(root), "--yes")
    assert result.exit_code == 0, result.exception
    assert not broken.exists()
