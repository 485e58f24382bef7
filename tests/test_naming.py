"""By which words commands take a run, those that remove or go on as well."""

from pathlib import Path

import pytest

from ilora_app.cli.run_request import Request, RequestError
from tests.finished import ilora


def made(folder: Path, time: float = 1.0) -> Path:
    """A run folder with a checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "events.jsonl").write_text(f'{{"time": {time}, "event": "started"}}\n')
    keys = 'strategy = "ilora"\nnum-server-rounds = 1\noutput-dir = ""\n'
    (folder / "config.toml").write_text(keys)
    (folder / "checkpoints" / "x").write_text("x")
    return folder


def test_erase_takes_the_latest_and_a_beginning(tmp_path):
    root = ("--root", tmp_path, "--yes")
    old, new = made(tmp_path / "b", 1.0), made(tmp_path / "abc", 2.0)
    result = ilora("runs", "erase", "latest", *root)
    assert result.exit_code == 0, result.output
    assert f"run: {new}" in result.stderr
    assert [(f / "checkpoints").exists() for f in (old, new)] == [True, False]
    (new / "checkpoints").mkdir()
    assert ilora("runs", "erase", "ab", *root).exit_code == 0
    assert [(f / "checkpoints").exists() for f in (old, new)] == [True, False]
    made(tmp_path / "abd", 0.0)
    result = ilora("runs", "erase", "ab", *root)
    assert result.exit_code == 2
    assert "'ab' is the beginning of abc, abd" in result.stderr
    assert (tmp_path / "abd" / "checkpoints").is_dir()


def test_latest_is_none_where_there_are_no_runs(tmp_path):
    for command in ("erase", "rm", "show"):
        yes = ["--yes"] if command != "show" else []
        result = ilora("runs", command, "latest", "--root", tmp_path, *yes)
        assert result.exit_code == 2
        assert "there is no run 'latest'" in result.output


def test_a_run_that_goes_on_may_go_by_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ILORA_RUNS", raising=False)
    root = tmp_path / ".ilora" / "runs"
    folders = [made(root / name) for name in ("2026-ab", "2026-ac")]
    for word in ("2026-ab", str(folders[0]), "~/.ilora/runs/2026-ab"):
        settings, _ = Request(options={"resume": word}).resolve()
        assert settings["resume"] == str(folders[0])
    settings, _ = Request(pairs=("resume=2026-ac",)).resolve()
    assert settings["resume"] == str(folders[1])
    with pytest.raises(RequestError, match="or the folder of a run, or its id"):
        Request(options={"resume": "2026-a"}).resolve()
