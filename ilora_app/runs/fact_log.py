"""Facts of checkpoint after checkpoint, of which only what has changed is written.

``<run folder>/checkpoints/facts.log`` has a line of JSON for each: ``set`` is a list of
[path, value], ``drop`` a list of paths, where a path is a list of keys. So what a
checkpoint takes grows with the members that have taken part since the last one, and
not with all that there are. The first line of a process has all. A checkpoint holds
where that one begins and its own ends, and the SHA-256 of what is between.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ilora_app.runs.store import TornError

FILE = "facts.log"

_Path = list[str]


class FactLog:
    """The log of one run.

    Args:
        folder: of the checkpoints.

    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._begin(0)

    def _begin(self, start: int) -> None:
        self._facts: Any = None
        self._start = self._end = start
        self._digest = hashlib.sha256()

    def write(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add what has changed since the last time.

        Returns:
            A mark, from which :func:`read` finds them again.

        Raises:
            OSError: the place cannot be written.

        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        size = self._path.stat().st_size if self._path.exists() else 0
        if self._facts is None or size < self._end:  # or somebody has removed it
            self._begin(size)
        found: dict[str, list[Any]] = {"set": [], "drop": []}
        _compare(self._facts, facts, [], found)
        line = json.dumps(found).encode() + b"\n"
        with self._path.open("ab") as file:
            file.truncate(self._end)  # what a failure has left
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._facts = _applied(self._facts, json.loads(line))
        self._end += len(line)
        self._digest.update(line)
        digest = self._digest.hexdigest()
        return {"from": self._start, "to": self._end, "sha256": digest}


def read(folder: Path, mark: Mapping[str, Any]) -> dict[str, Any]:
    """Read the facts of a checkpoint.

    Raises:
        TornError: they are not what was written.

    """
    path, facts = folder / FILE, None
    try:
        with path.open("rb") as file:
            file.seek(mark["from"])
            data = file.read(mark["to"] - mark["from"])
        if hashlib.sha256(data).hexdigest() != mark["sha256"]:
            raise ValueError("its SHA-256 differs")
        for line in data.splitlines():
            facts = _applied(facts, json.loads(line))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TornError(f"{path} is not what was written: {error}") from error
    return dict(facts or {})


def _compare(old: Any, new: Any, path: _Path, found: dict[str, list[Any]]) -> None:
    """Note by which changes the old facts become the new ones."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        found["set"].append([path, new])
        return
    found["drop"] += [[*path, key] for key in old.keys() - new.keys()]
    absent = object()
    changed = [key for key, value in new.items() if old.get(key, absent) != value]
    for key in changed:
        _compare(old.get(key), new[key], [*path, str(key)], found)


def _applied(facts: Any, changes: Mapping[str, Any]) -> Any:
    for path in changes["drop"]:
        del _within(facts, path[:-1])[path[-1]]
    for path, value in changes["set"]:
        if not path:
            facts = value
        else:
            _within(facts, path[:-1])[path[-1]] = value
    return facts


def _within(facts: Any, path: _Path) -> Any:
    for key in path:
        facts = facts[key]
    return facts
