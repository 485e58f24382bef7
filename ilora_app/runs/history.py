"""Finished and unfinished runs in a folder: what each was, and how it came out."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ilora_app.runs import class_scores, lock, processes
from ilora_app.runs.places import CONFIG, EVENTS, LATEST, RUNS
from ilora_app.runs.reading import config_of, events_of, number, rows_of
from ilora_app.runs.worth import Worth
from ilora_app.settings import options

RUNNING, FINISHED, FAILED, STOPPED = "running", "finished", "failed", "stopped"
_BEGINS, _ENDS = ("started", "resumed"), (FINISHED, FAILED, STOPPED)
# Columns that say how good a model is, the first that a run has.
_QUALITY = ("accuracy", "token_accuracy", "client_accuracy_mean")
_OWN_KEYS = ("strategy", "num-server-rounds", "output-dir")


class HistoryError(ValueError):
    """There is no such run, or it is none, or it may not be removed."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        id: folder, as seen from the folder of runs.
        folder: of the run.
        date: when it began, in local time.
        status: running, finished, failed or stopped.
        reason: why it failed.
        strategy, model, dataset: of its config.
        round, rounds: the last that is over, and how many were asked for.
        metric: name of the column that ``last`` and ``best`` are of.
        last, best: None where no round has one.

    """

    id: str
    folder: str
    date: str
    status: str
    reason: str
    strategy: str
    model: str
    dataset: str
    round: int
    rounds: int
    metric: str
    last: float | None
    best: float | None


def default_root() -> Path:
    """Where runs lie that name no folder of their own."""
    return options.folder(RUNS)


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run: its config and its events are in it."""
    if not (folder / EVENTS).is_file():
        return False
    settings = config_of(folder)
    return all(key in settings for key in _OWN_KEYS)


def listed(root: Path) -> list[Run]:
    """Runs in a folder and in folders of it, the oldest first."""
    found = [read(folder, root) for folder in _folders(root)]
    return sorted(found, key=lambda run: (run.date, run.id))


def find(name: str, root: Path, exact: bool = False) -> Path:
    """Find a run by its id, by its folder, or by a beginning that only one id has.

    Args:
        name: of the run; ``latest`` is the newest.
        root: folder of the runs.
        exact: a beginning is not enough; ``latest`` is.

    Raises:
        HistoryError: there is none, or more than one, or it is no run.

    """
    places = [root / name, options.folder(name)] if name.strip() else []
    there = [place for place in places if place.is_dir()]
    if name == LATEST and not there and (runs := listed(root)):
        return Path(runs[-1].folder)
    if there and is_run(there[0]):
        return there[0]
    ids = [folder.relative_to(root).as_posix() for folder in _folders(root)]
    hits = [one for one in ids if name.strip() and one.startswith(name)]
    if len(hits) == 1 and not exact:
        return root / hits[0]
    if there:
        right = f"expected one with {CONFIG} and {EVENTS}"
        raise HistoryError(f"{there[0]} is not the folder of a run: {right}")
    if hits:
        raise HistoryError(f"{name!r} is the beginning of {', '.join(sorted(hits))}")
    raise HistoryError(f"there is no run {name!r} in {root}; ilora runs list has them")


def read(folder: Path, root: Path) -> Run:
    """Read what a run was and how it came out."""
    settings, rows = config_of(folder), rows_of(folder)
    events = events_of(folder, *_BEGINS, *_ENDS)
    begins = [e for e in events if e["event"] in _BEGINS]
    status, reason = _status(folder, events)
    metric = next((name for name in _QUALITY if any(name in r for r in rows)), "")
    values = [row[metric] for row in rows if metric in row]
    inside = folder.is_relative_to(root)
    rounds = begins[-1].get("rounds") if begins else None
    return Run(
        id=folder.relative_to(root).as_posix() if inside else str(folder),
        folder=str(folder),
        date=_date(folder, begins),
        status=status,
        reason=reason,
        strategy=str(settings.get("strategy", "")),
        model=str(settings.get("model", "")),
        dataset=str(settings.get("dataset", "")),
        round=int(rows[-1]["round"]) if rows else 0,
        rounds=int(number(rounds or settings.get("num-server-rounds")) or 0),
        metric=metric,
        last=values[-1] if values else None,
        best=max(values, default=None),
    )


def details(folder: Path) -> dict[str, Any]:
    """The config, the rows of metrics.csv, what went wrong in them, and the test split.

    ``test`` is what the accuracy is worth; ``classes`` and ``confused`` are there where
    a run with classes has ended.
    """
    wrong = ("reply-left-out", "node-left-out", "node-struck-out", "model-unchanged")
    rows, events = rows_of(folder), events_of(folder)
    found = {
        "config": config_of(folder),
        "rows": rows,
        "failures": [e for e in events if e.get("event") in wrong],
        "test": asdict(Worth.of(rows, events)),
    }
    if by_class := class_scores.read(folder):
        found["classes"] = [asdict(score) for score in by_class.scores]
        found["confused"] = [
            {"class": true, "taken_for": told, "rows": rows}
            for true, told, rows in by_class.confused
        ]
    return found


def remove(folder: Path, root: Path) -> None:
    """Remove the folder of a run with all that is in it.

    Raises:
        HistoryError: it is no run, a link, at work, or holds something else.

    """
    check_removable(folder, root)
    shutil.rmtree(folder)


def check_removable(folder: Path, root: Path) -> None:
    """Check that a folder may be removed; changes nothing.

    Raises:
        HistoryError: it is no run, a link, at work, or holds something else.

    """
    if folder.is_symlink():
        raise HistoryError(f"{folder} is a link: it is not removed")
    if not is_run(folder):
        raise HistoryError(f"{folder} is not the folder of a run: it is not removed")
    real = folder.resolve()
    for keep in (root.resolve(), Path.home().resolve(), Path.cwd()):
        if keep.is_relative_to(real):
            raise HistoryError(f"{folder} holds {keep}: it is not removed")
    if any(found != folder for found in _folders(folder)):
        raise HistoryError(f"{folder} holds other runs: it is not removed")
    if read(folder, root).status == RUNNING:
        raise HistoryError(f"{folder} is at work: stop the run first")
    # One that goes on after its end says so in its events a little later.
    if by := lock.busy(folder):
        raise HistoryError(f"{by}: stop the run first")


def _folders(root: Path) -> Iterator[Path]:
    """Folders of runs; links are not followed, and hidden folders left out."""
    for place, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if EVENTS in files and is_run(Path(place)):
            if Path(place) != root:
                names.clear()
            yield Path(place)


def _date(folder: Path, begins: list[dict[str, Any]]) -> str:
    """When a run began: by its first event that says so, else by its config's file."""
    events = begins or events_of(folder)
    times = [time for event in events if (time := number(event.get("time")))]
    with suppress(OSError):  # it may be gone by now
        times.append((folder / CONFIG).stat().st_mtime)
    for time in times:
        with suppress(OverflowError, OSError, ValueError):
            return datetime.fromtimestamp(time).isoformat(" ", "seconds")
    return ""


def _status(folder: Path, events: list[dict[str, Any]]) -> tuple[str, str]:
    """How a run stands, by its beginnings and ends."""
    last: dict[str, Any] = {}
    begun: dict[str, Any] = {}
    for event in events:
        if event["event"] in _BEGINS:
            begun, last = event, {}
        else:
            last = event
    if last:
        return str(last["event"]), str(last.get("reason", ""))
    if begun.get("host") == socket.gethostname() and _at_work(begun.get("pid")):
        return RUNNING, ""
    if lock.busy(folder):
        # Of another container, say, whose processes this one does not see.
        return RUNNING, ""
    if not begun and any((folder / n).is_dir() for n in ("adapter", "model")):
        # Written before runs said how they ended: what they end with is there.
        return FINISHED, ""
    return STOPPED, ""


def _at_work(pid: Any) -> bool:
    """Whether the process of a run is there, and its id not another's by now."""
    if not isinstance(pid, int) or not processes.alive(pid):
        return False
    return any(word in processes.command(pid) for word in ("flwr", "python", "ilora"))
