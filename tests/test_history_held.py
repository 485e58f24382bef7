"""Runs that another container is at work on: they hold a lock, and say another host."""

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
