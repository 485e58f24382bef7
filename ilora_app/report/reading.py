"""Reads a run folder: config.toml, metrics.csv and events.jsonl."""

import csv
import json
import math
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RoundRow = dict[str, float]
Event = dict[str, Any]
Series = list[tuple[int, float]]


class ReportError(ValueError):
    """A folder that holds no run to report on: what is missing."""


@dataclass(frozen=True)
class Client:
    """A client over the run.

    Attributes:
        name: as people know it.
        rank: the last one.
        examples: that it trains on.
        held_out: that it measures on; 0 for none.
        accuracy, loss: (round, value) on its held-out data.
        test_accuracy: (round, value) of its own model on the test split.

    """

    name: str
    rank: int
    examples: int
    held_out: int
    accuracy: Series
    loss: Series
    test_accuracy: Series


@dataclass(frozen=True)
class RunData:
    """What is known of a run; what a run did not record is empty."""

    folder: Path
    config: Mapping[str, Any]
    rounds: tuple[RoundRow, ...]
    events: tuple[Event, ...]

    def kind(self, name: str) -> list[Event]:
        """Events of one kind, in order."""
        return [event for event in self.events if event["event"] == name]

    def last(self, kind: str) -> Event:
        """The last event of a kind; empty where there is none."""
        return next(iter(reversed(self.kind(kind))), {})

    def series(self, column: str) -> Series:
        """(round, value) where there is one."""
        return [(int(r["round"]), r[column]) for r in self.rounds if column in r]

    def value(self, column: str) -> float | None:
        """Value of the last round that has one."""
        found = self.series(column)
        return found[-1][1] if found else None

    def total(self, *columns: str) -> float:
        """Sum of columns over all rounds."""
        return sum(row.get(column, 0.0) for row in self.rounds for column in columns)

    def by_rank(self, prefix: str) -> dict[int, Series]:
        """Series of the columns PREFIX_r2, PREFIX_r4, ... by rank."""
        names = dict.fromkeys(name for row in self.rounds for name in row)
        start = f"{prefix}_r"
        ranks = [n.removeprefix(start) for n in names if n.startswith(start)]
        return {
            rank: self.series(f"{start}{rank}")
            for rank in sorted(int(text) for text in ranks if text.isdecimal())
        }

    def clients(self) -> list[Client]:
        """Every client that took part, with what it measured."""
        facts: dict[str, Event] = {}
        measured: dict[str, dict[str, dict[int, float]]] = {}
        for event in self.kind("member"):
            facts[client_name(event)] = event
        for event in self.kind("clients-evaluated"):
            for client in event["clients"]:
                name = client_name(client)
                facts[name] = facts.get(name, {}) | {
                    key: int(client[key])
                    for key in ("rank", "examples", "held_out")
                    if key in client
                }
                series = measured.setdefault(name, {})
                for key in ("accuracy", "loss", "test_accuracy"):
                    # With nothing held out its accuracy there means nothing.
                    if key in client and (client.get("held_out") or key[:4] == "test"):
                        series.setdefault(key, {})[event["round"]] = client[key]

        def values(name: str, key: str) -> Series:
            return sorted(measured.get(name, {}).get(key, {}).items())

        return [
            Client(
                name,
                fact.get("rank", 0),
                fact.get("examples", 0),
                fact.get("held_out", 0),
                values(name, "accuracy"),
                values(name, "loss"),
                values(name, "test_accuracy"),
            )
            for name, fact in facts.items()
        ]


def client_name(event: Mapping[str, Any]) -> str:
    """Name a client of an event: by its partition and key, else what it calls itself.

    Two may claim one partition, and no two have one key.
    """
    name = str(event.get("identity", ""))
    if event.get("partition") is not None:
        key = f" ({name[4:12]})" if name.startswith("key-") else ""
        return f"client {event['partition']}{key}"
    if name:
        return f"node {name[:24]}"
    return f"node {event.get('node', event.get('node_id', '?'))}"


def read(folder: Path) -> RunData:
    """Read a run folder.

    Raises:
        ReportError: it holds no run, or no finished round.

    """
    config = folder / "config.toml"
    if not config.is_file():
        raise ReportError(f"{folder}: expected a run folder, with config.toml in it")
    metrics = folder / "metrics.csv"
    rounds = read_rounds(metrics) if metrics.is_file() else []
    if not rounds:
        raise ReportError(f"{folder}: no round is finished, there is nothing to show")
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{config} cannot be read: {error}") from error
    return RunData(folder, settings, tuple(rounds), tuple(read_events(folder)))


def read_rounds(file: Path) -> list[RoundRow]:
    """Read metrics.csv; cells that hold no number, and rows of no round, are left out.

    What comes after a row that is no CSV is left out too.
    """
    rows: list[RoundRow] = []
    with (
        suppress(csv.Error),
        file.open(encoding="utf-8", errors="replace", newline="") as lines,
    ):
        for row in csv.DictReader(lines):
            cells = {key: _number(text) for key, text in row.items()}
            rows.append({k: n for k, n in cells.items() if n is not None})
    return [row for row in rows if "round" in row]


def read_events(folder: Path) -> list[Event]:
    """Read events.jsonl; a line that a crash has torn is left out."""
    file = folder / "events.jsonl"
    found = []
    if not file.is_file():
        return []
    # The bytes of a line that a crash has torn may be anything; texts may hold other
    # ends of lines, such as U+2028.
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and "event" in event:
            found.append(event)
    return found


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        # Cells beyond the last column come as a list.
        return None
    return value if math.isfinite(value) else None
