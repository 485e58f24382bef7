"""Events as lines of the log, for who follows a run on another machine.

    @ilora-event <nonce> {"time": ..., "event": "round", "round": 1, ...}

Text of others is one line of a log record that begins with words of the server, so no
node can begin one with the mark; and the nonce, which the server draws for a run and
tells no node, is that of the first line, which says which run begins. What is read of a
line or a file has the fields and the types that are declared here, or is nothing.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from logging import INFO
from typing import Any

from flwr.supercore import log

MARK = "@ilora-event "
BEGINS = ("started", "resumed")
_LONGEST, _LONGEST_TEXT = 100_000, 4000
Event = dict[str, Any]


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**9


def _whole(value: object) -> bool:
    return type(value) is int and abs(value) < 2**64


def _part(value: object) -> bool:
    return value is None or _count(value)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return type(value) is float or _whole(value)


Check = Callable[[object], bool]
_ROUND: dict[str, Check] = {"round": _count}
_REPLIES: dict[str, Check] = {**_ROUND, "purpose": _text, "clients": _count}
_BEGIN: dict[str, Check] = {"run": _whole, "rounds": _count}
_WHY: dict[str, Check] = {"reason": _text}
FIELDS: dict[str, dict[str, Check]] = {
    "started": _BEGIN,
    "resumed": {**_BEGIN, "after_round": _count},
    "asked": _REPLIES,
    "replied": _REPLIES,
    "round": _ROUND,
    "measured": _ROUND,
    "node-left-out": {"node": _whole, **_WHY},
    "node-struck-out": {"node": _whole, "partition": _part, **_WHY},
    "reply-left-out": {**_ROUND, "node": _whole, "partition": _part, **_WHY},
    "model-unchanged": {**_ROUND, **_WHY},
    "finished": {},
    "failed": _WHY,
    "stopped": {},
}
"""What who follows a run is told of it: kinds of events, and what each must have."""

_ROWS = ("round", "measured")
_MORE = {"folder": _text}


def parse(text: str) -> Event | None:
    """Read an event; None for what is none, or not one that is told here."""
    if len(text) > _LONGEST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    kind = found.get("event") if isinstance(found, dict) else None
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or not all(check(found.get(n)) for n, check in fields.items()):
        return None
    event: Event = {"event": kind}
    for name, value in found.items():
        number = name == "time" or kind in _ROWS
        known = fields.get(name) or _MORE.get(name)
        if (known and known(value)) or (number and _number(value)):
            is_text = isinstance(value, str)
            event[name] = plain(value[:_LONGEST_TEXT]) if is_text else value
    return event


class EventLines:
    """Writes the events of a run into its log.

    Args:
        folder: of the run; told in the line that it begins with.

    """

    def __init__(self, folder: str) -> None:
        self._folder, self._nonce = folder, secrets.token_hex(8)

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Write one event, if it is of those that are told."""
        if kind not in FIELDS:
            return
        where = {"folder": self._folder} if kind in BEGINS else {}
        stamp = {"time": round(time.time(), 3), "event": kind}
        log(INFO, "%s%s %s", MARK, self._nonce, json.dumps({**stamp, **where, **facts}))


class LineReader:
    """Reads the lines of one run, and of no other."""

    def __init__(self) -> None:
        self._nonce = ""

    def read(self, text: str, run_id: int | None) -> Event | None:
        """Read a line that begins with the mark; None for one that is not of the run.

        Args:
            text: of a record of the log.
            run_id: Flower's id of the run.

        """
        nonce, _, body = text.removeprefix(MARK).partition(" ")
        event = parse(body)
        if event is None:
            return None
        if not self._nonce and event["event"] in BEGINS and event["run"] == run_id:
            self._nonce = nonce
        return event if nonce and nonce == self._nonce else None


def plain(text: str) -> str:
    """Put spaces for control characters, but for line ends."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
