"""Whatever lies in a run folder, commands read it or say in one line why not."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings

from ilora_app.runs import lock, resume
from ilora_app.settings import parsing
from ilora_app.settings.parsing import ConfigError
from tests.finished import ilora
from tests.fuzz.damage import WHOLE, Damage
from tests.fuzz.folders import Change, changed, changes, seen
from tests.local_run import run

NAMES = [
    f"checkpoints/round-{number}/{name}"
    for number in (1, 2)
    for name in ("facts.json", "tensors.safetensors")
]
BEST = "best/best.json"
DEEP = [Damage("whole", part=WHOLE["deep"])]
DEEP_TOML = [Damage("whole", part=b"a = " + WHOLE["deep"])]
TOLD = ["config.toml", "metrics.csv", "events.jsonl", BEST]
WRITTEN = [".lock", ".metrics.csv.tmp", ".report.html.tmp", "report.html"]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Where every example has a new folder."""
    return lambda: tmp_path_factory.mktemp("example")


def says(result: Any) -> None:
    """It did what was asked, or says in a line what was wrong; no traceback."""
    if result.exit_code == 0 and result.exception is None:
        return
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.isprintable()
    assert 0 < len(line) < 2000


@settings(max_examples=6)
@example(made=[Change("config.toml", "bytes", DEEP_TOML)])
@example(made=[Change("metrics.csv", "bytes", [Damage("value", 999, b"9" * 400)])])
@example(made=[Change("events.jsonl", "bytes", DEEP), Change(BEST, "bytes", DEEP)])
@given(made=changes([*TOLD, *WRITTEN, *NAMES]))
def test_commands_read_a_folder_or_say_what_is_wrong(finished, place, made):
    root = place()
    folder = changed(finished, root, made)
    outside = seen(root / "outside")
    for words in (
        ("runs", "list", "--root", root),
        ("runs", "list", "--root", root, "--json"),
        ("runs", "show", folder, "--root", root),
        ("runs", "show", folder, "--json"),
        ("export", folder, "--out", root / "out"),
        ("export", folder, "--out", root / "best", "--round", "best"),
    ):
        says(ilora(*words))
    assert seen(root / "outside") == outside
    assert {p.name for p in root.iterdir()} <= {"outside", "run", "out", "best"}


@pytest.mark.slow
@settings(max_examples=1)
@example(made=[Change(".report.html.tmp", "link")])
@given(made=changes([*TOLD, *WRITTEN]))
def test_a_report_is_written_or_says_why_not(finished, place, made):
    root = place()
    folder = changed(finished, root, made)
    outside = seen(root / "outside")
    says(ilora("report", folder))
    assert seen(root / "outside") == outside


@settings(max_examples=30)
@example(made=[Change(NAMES[0], "bytes", DEEP), Change(NAMES[2], "bytes", DEEP)])
@given(made=changes([*NAMES, "config.toml", ".lock"]))
def test_a_run_is_found_to_go_on_or_not(finished, place, made):
    root = place()
    folder = changed(finished, root, made)
    config = json.loads((finished / NAMES[0]).read_text())["facts"]["config"]
    asked = config | {"resume": str(folder), "output-dir": ""}
    found, problems = resume.find(parsing.load(asked))
    assert (found is None) == bool(problems)
    for problem in problems:
        assert problem.isprintable()
        assert len(problem) < 3000
    if found:
        assert found.checkpoint.round in (1, 2)


@settings(max_examples=3)
@example(made=[Change(".lock", "link")])
@example(made=[Change("events.jsonl", "folder")])
@given(made=changes([*NAMES, *TOLD, *WRITTEN]))
def test_a_run_goes_on_or_says_why_not(finished, place, tiny_config, made):
    root = place()
    folder = changed(finished, root, made)
    outside = seen(root / "outside")
    config = tiny_config | {"num-server-rounds": 3, "resume": str(folder)}
    try:
        _, _, server = run(config)
    except (ConfigError, lock.BusyError):
        pass
    else:
        assert server.folder.rows[-1]["round"] == 3
        assert server.folder.rows[-1]["clients"] == 3
    assert seen(root / "outside") == outside
