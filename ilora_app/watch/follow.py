"""Follows a run that ``flwr run`` streams: by its log, and by its run folder."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ilora_app.launch import flower_log
from ilora_app.runs.places import EVENTS
from ilora_app.watch.state import RunState
from ilora_app.watch.view import View

_EVERY = 0.3
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
        """New lines, without their ends; none where the file is not there yet."""
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

    Events of the run folder tell everything. Where the folder is on another machine,
    the lines of the log tell the rounds.

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
        self._events: Tail | None = None

    def follow(self, ended: Callable[[], bool]) -> None:
        """Follow until the command has ended."""
        while True:
            over = ended()
            self.look()
            if over:
                return
            time.sleep(_EVERY)

    def look(self) -> None:
        """Take in what is new."""
        for line in self._log.lines():
            self._line(line)
        if self._events:
            for line in self._events.lines():
                # Whatever a file holds is no reason to end the run that wrote it.
                with suppress(*_STUMBLES):
                    self._event(json.loads(line))

    def _line(self, line: str) -> None:
        if self.run_id is None:
            self.run_id = flower_log.run_id_in(line)
            if self.run_id is not None:
                self._view.doing = "loading the model and the data"
        level, text = flower_log.message(line)
        if place := flower_log.folder_in(text):
            self._found(Path(place))
        elif level == "WARNING" and text and not self._known(text):
            self._view.say(f"warning: {text}")
        elif not self.local and (found := flower_log.round_in(text)):
            row, self._state.rounds = found
            self._tell({"event": "round", "time": time.time(), **row})

    def _known(self, text: str) -> bool:
        """Whether an event says it too, or nobody needs to know."""
        said = " is left out: " in text or "the model stays as it was" in text
        return text.startswith(_NOISE) or (self.local and said)

    def _found(self, folder: Path) -> None:
        if self.folder:
            return
        self.folder = folder
        self.local = _is_of(folder / EVENTS, self.run_id)
        where = "" if self.local else " (on the machine of the ServerApp)"
        self._view.say(f"run folder: {folder}{where}")
        self._view.doing = "meeting the clients"
        if self.local:
            self._events = Tail(folder / EVENTS)

    def _event(self, event: dict[str, Any]) -> None:
        """Take what was before this run went on in silence."""
        if event.get("event") in ("started", "resumed"):
            self._began = event.get("run") == self.run_id
            self._state.take(event)
            if self._began and "after_round" in event:
                self._view.say(f"going on after round {event['after_round']}")
        elif self._began:
            self._tell(event)
        else:
            self._state.take(event)

    def _tell(self, event: dict[str, Any]) -> None:
        self._state.take(event)
        self._view.event(event)


def _is_of(events: Path, run_id: int | None) -> bool:
    """Whether a file of events is of this run, and not of another of that name."""
    try:
        text = events.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        with suppress(*_STUMBLES):
            event = json.loads(line)
            begun = event["event"] in ("started", "resumed")
            if begun and event["run"] == run_id:
                return True
    return False
