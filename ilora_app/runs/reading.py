"""What stands in the files of a run folder, as far as it can be read."""

import csv
import io
import json
import math
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ilora_app.runs.places import CONFIG, EVENTS, METRICS


def config_of(folder: Path) -> dict[str, Any]:
    """Run config as resolved; empty where it cannot be read."""
    try:
        return tomllib.loads(_text(folder / CONFIG))
    except (OSError, ValueError, RecursionError):
        return {}


def events_of(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """Events; a line that a crash has left unfinished is left out.

    Args:
        folder: of a run.
        kinds: those of these alone, and no other line is parsed; else all.

    """
    words = [f'"{kind}"' for kind in kinds]
    with suppress(OSError):
        found = lines_of(folder / EVENTS, words)
        return [e for e in found if not kinds or e.get("event") in kinds]
    return []


def lines_of(path: Path, words: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines; what is none is left out.

    Args:
        path: of the file.
        words: lines with none of them are left out; none: no line is.

    Raises:
        OSError: it cannot be read.

    """
    found: list[dict[str, Any]] = []
    for line in _text(path).split("\n"):  # texts may hold other ends, such as U+2028
        if words and not any(word in line for word in words):
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def rows_of(folder: Path) -> list[dict[str, float]]:
    """Rounds, as in metrics.csv; cells that hold no finite number are left out.

    What comes after a row that is no CSV is left out too.
    """
    rows: list[dict[str, float]] = []
    with suppress(OSError, csv.Error):
        for row in csv.DictReader(io.StringIO(_text(folder / METRICS), newline="")):
            rows.append({k: n for k, t in row.items() if (n := number(t)) is not None})
    return [row for row in rows if "round" in row]


def _text(path: Path) -> str:
    """Whole text of a file.

    Raises:
        OSError: it cannot be read, or is no file: of a pipe a reader never sees the
            end.

    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is no file")
    return path.read_text(encoding="utf-8", errors="replace")


def number(text: Any) -> float | None:
    """Read a finite number, a count as an integer; None for all else."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(value):
        return None
    return int(text) if isinstance(text, str) and text.isdecimal() else value
