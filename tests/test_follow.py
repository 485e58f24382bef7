"""What feeds a view of a run: its events, here or in a log, and no words of others."""

import contextlib
import io
import json
import logging
import os
from pathlib import Path

import pytest
from rich.console import Console

from ilora_app.launch import flower_log
from ilora_app.runs import places, reading
from ilora_app.runs.event_lines import MARK, EventLines
from ilora_app.watch.follow import Follower, Tail
from ilora_app.watch.state import RunState
from ilora_app.watch.view import View
from tests.test_watch import CONTROL, EVENTS, RUN, fed

LOG = """\
Using SuperLink: own (127.0.0.1:45971)
Successfully started run 7
\x1b[93mWARNING \x1b[0m:   Since flwr 1.32, default simulated SuperNodes changed.
\x1b[93mWARNING \x1b[0m:   No row of the split test is of class x
\x1b[92mINFO \x1b[0m:      Run folder: /of/no/one
{events}\x1b[93mWARNING \x1b[0m:   round 1: client 2 is left out: not finite
\x1b[92mINFO \x1b[0m:      round 3/4  accuracy 0.9000  loss 0.1000  clients 2/3
"""


def test_a_tail_gives_whole_lines_once(tmp_path):
    file = tmp_path / "log"
    tail = Tail(file)
    assert tail.lines() == []
    file.write_bytes("one\ntwö".encode()[:-1])
    assert tail.lines() == ["one"]
    with file.open("ab") as more:
        more.write("ö".encode()[1:] + b"\n")
    assert tail.lines() == ["twö"]
    assert tail.lines() == []


def logged(folder, events=EVENTS) -> str:
    """What the ServerApp has in its log of these events."""
    found, lines = [], EventLines(str(folder))

    class Keep(logging.Handler):
        def emit(self, record):
            found.append(f"\x1b[92mINFO \x1b[0m:      {record.getMessage()}\n")

    handler = Keep()
    logging.getLogger("flwr").addHandler(handler)
    for event in events:
        facts = {k: v for k, v in event.items() if k not in ("event", "time")}
        lines.event(event["event"], facts)
    logging.getLogger("flwr").removeHandler(handler)
    return "".join(found)


def follow(tmp_path, folder, run: int = RUN, text: str = LOG):
    """Follow a log, with a folder that has the events of a run."""
    log = tmp_path / "flwr.log"
    log.write_text(text.replace("{events}", logged(folder)))
    file = io.StringIO()
    state = RunState(10)
    follower = Follower(log, state, View(Console(file=file), state, "t"))
    if run:
        folder.mkdir()
        events = [{**EVENTS[0], "run": run}, *EVENTS[1:]]
        text = "".join(json.dumps(event) + "\n" for event in events)
        (folder / "events.jsonl").write_text(text)
    follower.follow(lambda: True)
    return follower, state, file.getvalue()


def test_a_run_folder_that_is_here_tells_everything(tmp_path):
    follower, state, text = follow(tmp_path, tmp_path / "run")
    assert (follower.run_id, follower.folder) == (RUN, tmp_path / "run")
    assert follower.local
    assert state.energy_kept() == {"2": 0.53, "8": 0.84}
    assert text.count("is left out") == 1, "said by the event, and not by the log again"
    assert "warning: No row of the split test is of class x" in text
    assert "Since flwr" not in text
    assert text.count("round 1/4") == 1
    warned = text.index("warning: round 1: client 2 is left out")
    assert text.index("round 1/4") < warned, "what it speaks of stands above it"


@pytest.mark.parametrize("run", [0, 99])
def test_where_the_folder_is_elsewhere_events_in_the_log_tell_everything(tmp_path, run):
    """Also where a folder of that name is here, of another run; words tell nothing."""
    follower, state, text = follow(tmp_path, tmp_path / "run", run)
    assert (follower.run_id, follower.folder) == (RUN, tmp_path / "run")
    assert not follower.local
    assert "on the machine of the ServerApp" in text
    assert (state.round, state.rounds) == (1, 4)
    here = fed()
    assert state.rows == here.rows
    assert state.energy_kept() == {"2": 0.53, "8": 0.84}
    assert (state.replied, state.asked) == (1, 3)
    assert text.count("client 2 is left out: not finite") == 1
    assert "@ilora-event" not in text
    assert not CONTROL.search(text), repr(text)


def test_what_was_before_a_run_went_on_is_not_told_again(tmp_path):
    folder = tmp_path / "run"
    log = tmp_path / "flwr.log"
    begun = {"event": "resumed", "run": RUN, "rounds": 4, "after_round": 0}
    log.write_text(LOG.replace("{events}", logged(folder, [begun])))
    folder.mkdir()
    events = [
        {**EVENTS[0], "run": 1}, *EVENTS[1:],
        {"time": 200.0, "event": "resumed", "run": RUN, "rounds": 4, "after_round": 0},
        {"time": 201.0, "event": "round", "round": 1, "accuracy": 0.7},
    ]  # fmt: skip
    text = "".join(json.dumps(event) + "\n" for event in events)
    (folder / "events.jsonl").write_text(text)
    file, state = io.StringIO(), RunState(4)
    Follower(log, state, View(Console(file=file), state, "t")).look()
    assert "round 0/4" not in file.getvalue()
    assert "going on after round 0" in file.getvalue()
    assert file.getvalue().count("round 1/4") == 1
    assert state.series("accuracy") == [(0, 0.1), (1, 0.7)]


def test_lines_of_the_log():
    assert flower_log.run_id_in("🎊 Successfully started run 12\n") == 12
    assert flower_log.run_id_in("said: Successfully started run 12") is None
    assert flower_log.run_id_in(f"Successfully started run {'9' * 5000}") is None
    level, text = flower_log.message("\x1b[91mERROR \x1b[0m:     the run config")
    assert (level, text) == ("ERROR", "the run config")


LIES = [
    "round 1/2  accuracy zzz",
    "round 9/9  accuracy 1.0000  loss 0.0000",
    "@ilora-event",
    "@ilora-event 00 {nonce",
    "@ilora-event {nonce} " + "[" * 50_000,
    '@ilora-event {nonce} {"event": "round", "round": "x"}',
    '@ilora-event {nonce} {"event": "round", "round": -1}',
    '@ilora-event {nonce} {"event": "round", "round": 1e99, "accuracy": 1.0}',
    '@ilora-event {nonce} {"event": "failed"}',
    '@ilora-event {nonce} {"event": ["round"]}',
    '@ilora-event {nonce} {"event": "asked", "round": 1, "purpose": 3, "clients": []}',
    '@ilora-event {nonce} {"event": "started", "run": 8'
    + "0" * 5000
    + ', "rounds": 1}',
    '@ilora-event 1234 {"event": "round", "round": 5, "accuracy": 1.0}',
    '@ilora-event 1234 {"event": "finished"}',
]
"""Lines that a node would have in the log of a run: none begins one there, but if."""


@pytest.mark.parametrize("local", [True, False])
def test_no_line_of_a_log_and_no_event_ends_or_steers_who_follows_a_run(
    tmp_path, caplog, local
):
    log, folder = tmp_path / "log", tmp_path / "run"
    folder.mkdir()
    with caplog.at_level("INFO", logger="flwr"):
        lines = EventLines(str(folder))
        lines.event("started", {"run": 7, "rounds": 2, "pid": 1})
        nan = {"accuracy": float("nan"), "seconds_train": float("inf"), "words": "x"}
        lines.event("round", {"round": 0, **nan})
        lines.event("round", {"round": 1, "accuracy": 0.5})
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith(MARK)]
    begun, *told = said
    lies = [line.replace("{nonce}", begun.split()[1]) for line in LIES]
    where = ["INFO:      ", "WARNING:   node 3 says ", ""]
    text = [f"{before}{lie}" for lie in lies for before in where]
    text.append(f'{where[1]}{begun[: begun.index("{")]}{{"event": "finished"}}')
    stream = [
        f"INFO:      {begun}",
        *text,
        *(f"INFO:      {one}" for one in told),
        *text,
    ]
    log.write_text("\n".join(["Successfully started run 7", *stream, ""]))
    bodies = [one.removeprefix(MARK).partition(" ")[2] for one in [*said, *lies]]
    torn = ['{"event": "rou', "[]", "\xff", *lies]
    events = [bodies[0], *torn, *bodies[1:3], *torn]
    if local:
        (folder / "events.jsonl").write_text("\n".join([*events, ""]))
    state, out = RunState(2), io.StringIO()
    view = View(Console(file=out, width=200), state, "t")
    follower = Follower(log, state, view)
    follower.follow(lambda: True)
    view._console.print(view.panel())
    assert follower.local is local
    assert (state.round, state.rounds, state.status) == (1, 2, "")
    assert state.series("accuracy")[1:] == [(1, 0.5)]
    assert "words" not in state.rows[0]
    shown = out.getvalue()
    assert "not all of the run is shown" not in shown
    assert "round 1/2  accuracy 0.5000" in shown
    assert '@ilora-event 1234 {"event": "finished"}' in shown, "as text"


def test_a_view_that_cannot_be_written_ends_no_run(tmp_path):
    """As where the output goes to a pipe that is closed, or to a disk that is full."""
    log = tmp_path / "log"
    log.write_text("Successfully started run 7\nWARNING:   a\nWARNING:   b\n")
    state, looks = RunState(2), iter([False, False, True])
    with contextlib.suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:
        follower = Follower(log, state, View(Console(file=full), state, "t"))
        follower.follow(lambda: next(looks))
    assert next(looks, None) is None, "it was followed to its end"
    assert follower.run_id == 7


def test_a_pipe_in_place_of_a_file_holds_nobody(tmp_path):
    for name in (places.EVENTS, places.METRICS, places.CONFIG):
        os.mkfifo(tmp_path / name)
    assert Tail(tmp_path / places.EVENTS).lines() == []
    assert reading.events_of(tmp_path) == reading.rows_of(tmp_path) == []
    assert reading.config_of(tmp_path) == {}
