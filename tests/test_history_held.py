"""Runs that another container is at work on: they hold a lock, and say another host."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from ilora_app.runs import history, lock
from tests.finished import ilora


def made(folder: Path, *events: dict) -> Path:
    begun = {"event": "started", "time": 1.0, "host": "3f2a91c0d7aa", "rounds": 2}
    lines = [json.dumps(e) for e in (begun | {"pid": os.getpid()}, *events)]
    folder.mkdir()
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    keys = 'strategy = "ilora"\nnum-server-rounds = 2\noutput-dir = ""\n'
    (folder / "config.toml").write_text(keys)
    return folder


def test_who_asks_whether_it_is_held_keeps_no_run_out(tmp_path, monkeypatch):
    lock.hold(tmp_path).close()
    asking = (tmp_path / lock.FILE).open()
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda _: asking.close())
    with lock.hold(tmp_path):
        monkeypatch.undo()
        assert lock.busy(tmp_path)
        with pytest.raises(lock.BusyError, match="is at work in"):
            lock.hold(tmp_path)


@pytest.mark.parametrize(
    ("events", "held", "free"),
    [([], "running", "stopped"), ([{"event": "finished"}], "finished", "finished")],
)
def test_it_is_not_removed(tmp_path, events, held, free):
    folder = made(tmp_path / "far", *events)
    before = sorted(folder.iterdir())
    words = ("runs", "rm", "far", "--yes", "--root", tmp_path)
    with lock.hold(folder):
        assert [run.status for run in history.listed(tmp_path)] == [held]
        result = ilora(*words)
        assert result.exit_code == 2
        assert "is at work" in result.output
        assert sorted(folder.iterdir()) == sorted([*before, folder / lock.FILE])
    assert [run.status for run in history.listed(tmp_path)] == [free]
    assert ilora(*words).exit_code == 0
    assert not folder.exists()
