"""Follows a run that ``flwr run`` streams: by its events, never by words of its log."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ilora_app.launch import flower_log
from ilora_app.runs.event_lines import BEGINS, MARK, Event, LineReader, parse
from ilora_app.runs.places import EVENTS
from ilora_app.watch.state import RunState
from ilora_app.watch.view import View

_EVERY = 0.3
_LONGEST = 500
# Flower's, of a default that does not apply here.
_NOISE = ("Since flwr 1.32",)

# What taking in a line that no run has written ends in.
_STUMBLES = (
    *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
    OverflowError,  # int of infinity
)


class Tail:
    """Whole lines that have come to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path, self._at, self._rest = path, 0, b""

    def lines(self) -> list[str]:
        """New lines, without their ends; none where the file cannot be read."""
        if not self.path.is_file():  # a pipe would hold its reader for ever
            return []
        try:
            with self.path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except OSError:
            return []
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in whole]


class Follower:
    """Feeds a state and a view with what a run does.

    Events come from the run folder where it is on this machine, else from the lines of
    the log that hold one. All other lines are text: warnings are shown. Whatever comes,
    nothing is raised.

    Args:
        log: file that the output of ``flwr run --stream`` goes to.
        state: is fed.
        view: is told.

    """

    def __init__(self, log: Path, state: RunState, view: View) -> None:
        self._log = Tail(log)
        self._state, self._view = state, view
        self.run_id: int | None = None
        self.folder: Path | None = None
        self.local = False
        self._began = False
        self._failed = False
        self._streamed = LineReader()
        self._events: Tail | None = None

    def follow(self, ended: Callable[[], bool]) -> None:
        """Follow until the run has ended."""
        while True:
            over = ended()
            self.look()
            if over:
                return
            time.sleep(_EVERY)

    def look(self) -> None:
        """Take in what is new; that it cannot be shown is no reason to end a run."""
        try:
            self._look()
        except Exception as error:
            if not self._failed:
                self._failed = True
                with suppress(Exception):
                    why = f"{type(error).__name__}: {error}"
                    self._view.say(f"warning: not all of the run is shown: {why}")

    def _look(self) -> None:
        for line in self._log.lines():
            self._line(line)
        self._written()

    def _written(self) -> None:
        """Take in what the run folder has of events, where it is here."""
        if self._events:
            for line in self._events.lines():
                if event := parse(line):
                    self._event(event)

    def _line(self, line: str) -> None:
        if self.run_id is None:
            self.run_id = flower_log.run_id_in(line)
            if self.run_id is not None:
                self._view.doing = "loading the model and the data"
        level, text = flower_log.message(line)
        if level == "INFO" and text.startswith(MARK):
            event = self._streamed.read(text, self.run_id)
            if event is None:
                self._view.say(text[:_LONGEST])
                return
            if event["event"] in BEGINS and "folder" in event and not self.folder:
                self._found(Path(event["folder"]))
            if not self.local:
                self._event(event)
        elif level == "WARNING" and text and not text.startswith(_NOISE):
            self._written()  # the log comes late, and speaks of rounds that are over
            self._view.say(f"warning: {text}")

    def _found(self, folder: Path) -> None:
        self.folder = folder
        lines = Tail(folder / EVENTS).lines()
        # Another machine may have a folder of that name, of another run.
        runs = [e["run"] for e in map(parse, lines) if e and e["event"] in BEGINS]
        self.local = self.run_id in runs
        where = "" if self.local else " (on the machine of the ServerApp)"
        self._view.say(f"run folder: {folder}{where}")
        self._view.doing = "meeting the clients"
        if self.local:
            self._events = Tail(folder / EVENTS)

    def _event(self, event: Event) -> None:
        """Take what was before this run went on in silence."""
        if event["event"] in BEGINS:
            self._began = event["run"] == self.run_id
            self._state.take(event)
            if self._began and "after_round" in event:
                self._view.say(f"going on after round {event['after_round']}")
            return
        self._state.take(event)
        if self._began:
            self._view.event(event)
