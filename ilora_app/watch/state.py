"""What is known of a run so far, from its events."""

import time
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
_RECENT = 5


class RunState:
    """Takes events as they stand in events.jsonl, and answers what a view asks.

    Args:
        rounds: how many there will be, as far as is known.

    """

    def __init__(self, rounds: int = 0) -> None:
        self.rounds = rounds
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.status = ""
        self.reason = ""
        self.purpose = ""
        self.asked = self.replied = 0
        self._since = time.time()

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        kind = event.get("event")
        if kind in ("started", "resumed"):
            self._begin(event)
        elif kind == "asked":
            self.purpose, self.asked = str(event["purpose"]), int(event["clients"])
            self.replied = 0
        elif kind == "replied":
            self.replied = int(event["clients"])
        elif kind == "round":
            row = {k: v for k, v in event.items() if k not in ("event", "time")}
            self.rows.append(row)
            self._since = float(event.get("time", time.time()))
            self.asked = self.replied = 0
        elif kind == "measured":
            for row in self.rows:
                if row["round"] == event["round"]:
                    row.update(
                        {k: v for k, v in event.items() if k not in ("event", "time")}
                    )
        elif failure := failure_of(event):
            self.failures.append(failure)
        elif kind in (FINISHED, FAILED, STOPPED):
            self.status, self.reason = str(kind), str(event.get("reason", ""))

    @property
    def round(self) -> int:
        """Last round that is over; -1 before the initial model was measured."""
        return int(self.rows[-1]["round"]) if self.rows else -1

    def series(self, column: str) -> list[tuple[int, float]]:
        """(round, value) where there is one."""
        return [(int(r["round"]), float(r[column])) for r in self.rows if column in r]

    def column(self, *names: str) -> str:
        """First of these columns that some round has; empty for none."""
        return next((n for n in names if any(n in r for r in self.rows)), "")

    def total(self, *columns: str) -> float:
        """Sum of columns over all rounds."""
        return float(sum(r.get(c, 0) for r in self.rows for c in columns))

    def energy_kept(self) -> dict[str, float]:
        """Part of the update that the cut keeps, by rank, in the last round."""
        for row in reversed(self.rows):
            found = {
                key.removeprefix("energy_kept_r"): float(value)
                for key, value in row.items()
                if key.startswith("energy_kept_r")
            }
            if found:
                return found
        return {}

    def seconds_left(self, now: float | None = None) -> float | None:
        """Time that the rounds to come take, by the mean of the last few."""
        # What measuring the start takes says nothing of a round.
        trained = [row for row in self.rows if row["round"]]
        recent = [s for row in trained[-_RECENT:] if (s := seconds(row))]
        left = self.rounds - max(self.round, 0)
        if not recent or left <= 0:
            return 0.0 if self.rows and left <= 0 else None
        gone = (time.time() if now is None else now) - self._since
        mean = sum(recent) / len(recent)
        # A round that takes longer than usual is not expected to end in the past.
        return max(mean - gone, 0.0) + mean * (left - 1)

    def _begin(self, event: Mapping[str, Any]) -> None:
        self.rounds = int(event.get("rounds", self.rounds))
        after = int(event.get("after_round", -1))
        self.rows = [row for row in self.rows if row["round"] <= after]
        self.failures = []
        self.status = self.reason = ""
        self._since = float(event.get("time", time.time()))


def failure_of(event: Mapping[str, Any]) -> str:
    """What an event says that went wrong with a client or a round; else empty."""
    kind = event.get("event")
    reason = printable(str(event.get("reason", "")))
    if kind == "node-left-out":
        return f"node {event.get('node')} cannot take part: {reason}"
    if kind == "node-struck-out":
        return f"node {event.get('node')} is asked no more: {reason}"
    if kind == "reply-left-out":
        part = event.get("partition")
        who = f"node {event.get('node')}" if part is None else f"client {part}"
        return f"round {event.get('round')}: {who} is left out: {reason}"
    if kind == "claimed-twice":
        return reason
    if kind == "model-unchanged":
        return f"round {event.get('round')}: the model stays as it was: {reason}"
    return ""


def seconds(row: Mapping[str, Any]) -> float:
    """Seconds of a round."""
    phases = ("train", "aggregate", "head", "evaluate")
    return float(sum(row.get(f"seconds_{phase}", 0.0) for phase in phases))


def printable(text: str) -> str:
    """Put spaces for control characters: clients have a say in reasons."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
