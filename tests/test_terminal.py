"""Control characters go to terminals alone, whatever variables say."""

import io
import re
import sys

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app, terminal
from ilora_app.watch.state import RunState
from ilora_app.watch.view import View

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
FORCED = [
    {"FORCE_COLOR": "1"},
    {"TTY_COMPATIBLE": "1"},
    {"TTY_INTERACTIVE": "1", "FORCE_COLOR": "3"},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def stdout(monkeypatch):
    """Set what stdout is, and the variables."""

    def make(stream: io.StringIO, **variables: str) -> io.StringIO:
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return make


def show(**how: bool) -> None:
    """A run with one round, as ``ilora run`` shows it."""
    state = RunState(2)
    view = View(terminal.console(**how), state, "title")
    with view.shown():
        event = {"event": "round", "round": 1, "accuracy": 0.5}
        state.take(event)
        view.event(event)


@pytest.mark.parametrize("variables", FORCED)
def test_a_pipe_gets_plain_lines_whatever_is_forced(stdout, variables):
    stream = stdout(io.StringIO(), TERM="xterm", **variables)
    show()
    assert stream.getvalue() == "round 1/2  accuracy 0.5000\n"


def test_a_terminal_gets_the_panel_and_a_dumb_one_plain_lines(stdout):
    stream = stdout(Terminal(), TERM="xterm")
    show()
    assert "\x1b[" in stream.getvalue()
    for variables, how in (
        ({"TERM": "dumb"}, {}),
        ({"TERM": "xterm"}, {"plain": True}),
    ):
        stream = stdout(Terminal(), **variables)
        show(**how)
        assert stream.getvalue() == "round 1/2  accuracy 0.5000\n"


@pytest.mark.parametrize("variables", FORCED)
@pytest.mark.parametrize("words", [["doctor", "--offline"], ["runs", "list"]])
def test_what_is_piped_on_has_no_control_characters(
    words, variables, tmp_path, monkeypatch
):
    folder = tmp_path / ".ilora" / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text('{"time": 1.0, "event": "finished"}\n')
    keys = ("strategy", "num-server-rounds", "output-dir")
    (folder / "config.toml").write_text("".join(f'{key} = "1"\n' for key in keys))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = CliRunner().invoke(app, words, env={"TERM": "xterm", **variables})
    assert len(found.output.splitlines()) > 1
    assert not CONTROL.search(found.output), repr(found.output)
