"""Reads what ``flwr run --stream`` says: run id, levels of lines, why it failed."""

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL)\s*:\s+")
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
_STARTED = re.compile(r"\W*Successfully started run ([0-9]{1,20})\b")


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
