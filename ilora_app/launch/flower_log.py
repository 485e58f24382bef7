"""Reads what ``flwr run --stream`` says: run id, run folder, rounds, why it failed."""

import re
from typing import Any

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*:\s+")
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
_STARTED = re.compile(r"\W*Successfully started run (\d+)")
_FOLDER = "Run folder: "
_ROUND = re.compile(r"round (\d+)/(\d+)(?:  (.*))?$")


def run_id_in(log: str) -> int | None:
    """Flower's id of the run; None where none was started."""
    for line in log.splitlines():
        if found := _STARTED.match(_COLOUR.sub("", line)):
            return int(found[1])
    return None


def message(line: str) -> tuple[str, str]:
    """Split a line of the log into its level, empty where it has none, and its text."""
    text = _COLOUR.sub("", line).rstrip()
    level = _LEVEL.match(text)
    return (level[1], text[level.end() :]) if level else ("", text)


def folder_in(text: str) -> str:
    """Run folder that a message names; empty where it names none."""
    return text.removeprefix(_FOLDER).strip() if text.startswith(_FOLDER) else ""


def round_in(text: str) -> tuple[dict[str, Any], int] | None:
    """Read the server's line of a round: its row, and how many rounds there are.

    It has less than metrics.csv, and is there where the run folder is out of reach.
    None for every other line, those that only begin like one included.
    """
    found = _ROUND.match(text)
    try:
        return (_row(found), int(found[2])) if found else None
    except (ValueError, IndexError, OverflowError):
        return None


def _row(found: re.Match[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"round": int(found[1])}
    for part in (found[3] or "").split("  "):
        words = part.split()
        if not words:
            continue
        if words[0] in ("accuracy", "loss", "drift"):
            row[words[0]] = float(words[1])
        elif words[0] == "clients":
            row["clients"], row["asked"] = map(int, words[1].split("/"))
        elif part.startswith("worst client"):
            row["client_accuracy_worst"] = float(words[2])
        elif part.startswith("energy kept"):
            # The line has no ranks: they are counted.
            for number, value in enumerate(words[2].split("/"), 1):
                row[f"energy_kept_r#{number}"] = float(value)
        elif words[0] == "MB":
            row["bytes_down"], row["bytes_up"] = (
                round(float(words[at]) * 1e6) for at in (2, 4)
            )
        elif words[-1] == "s":
            row["seconds_train"] = float(words[0])
    return row


def reason_in(log: str) -> str:
    """Find the last error in what ``flwr run --stream`` said."""
    lines = [_COLOUR.sub("", line).rstrip() for line in log.splitlines()]
    block: list[str] = []
    found: list[str] = []
    for line in lines:
        if level := _LEVEL.match(line):
            error = level[1] in ("ERROR", "CRITICAL") and "Exit Code:" not in line
            block = [line[level.end() :]] if error else []
            found = block if error else found
        elif block and line.strip():
            block.append(line)
        elif line.startswith("│"):
            found = [*found, line] if found and found[-1][:1] == "│" else [line]
    raised = [line for line in found if _RAISED.match(line)]
    if any(line.startswith("Traceback") for line in found) and raised:
        found = found[found.index(raised[-1]) :]
    return "\n".join(line.strip("│ ") for line in found)
