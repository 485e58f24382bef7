"""Facts of checkpoint after checkpoint, of which only what has changed is written.

``<run folder>/checkpoints/facts.log`` has a line of JSON for each: ``set`` is a list of
[path, value], ``drop`` a list of paths, where a path is a list of keys. So what a
checkpoint takes grows with the members that have taken part since the last one, and
not with all that there are. The first line of a file has all. A file that has grown to
twice that is followed by another, ``facts-<n>.log``, as is that of an earlier process;
it stays until no checkpoint is of it any more. A checkpoint holds the name of its file,
where its own line ends, and the SHA-256 of what is before that.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ilora_app.runs.store import TornError
from ilora_app.runs.writing import flush

FILE = "facts.log"
_NAME = re.compile(r"facts(?:-(\d{1,9}))?\.log", re.ASCII)
_GROWN, _LEAST = 2, 1 << 16
"""A file is followed by another at so many times its first line, and so many bytes."""

_Path = list[str]


class FactLog:
    """The log of one run.

    Args:
        folder: of the checkpoints.

    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / FILE
        self._facts: Any = None
        # File -> round since which no new checkpoint is of it; None: since the last.
        self._retired: dict[Path, int | None] = {}

    def _begin(self) -> None:
        """Go on with all facts in a file of their own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        there = _files(self._folder)
        number = max(there, default=-1) + 1
        self._path = self._folder / (f"facts-{number}.log" if number else FILE)
        for path in there.values():
            self._retired.setdefault(path, None)
        self._facts = None
        self._first = self._end = 0
        self._digest = hashlib.sha256()

    def write(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Add what has changed since the last time.

        Returns:
            A mark, from which :func:`read` finds them again.

        Raises:
            OSError: the place cannot be written.

        """
        if self._facts is None or not self._goes_on():
            self._begin()
        found: dict[str, list[Any]] = {"set": [], "drop": []}
        _compare(self._facts, facts, [], found)
        line = json.dumps(found).encode() + b"\n"
        try:
            with self._path.open("ab") as file:
                file.truncate(self._end)  # what a failure has left
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            if not self._end:
                flush(self._folder)
        except OSError:
            if not self._end:
                self._path.unlink(missing_ok=True)  # the next try has another
            raise
        self._first = self._first or len(line)
        self._facts = _applied(self._facts, json.loads(line))
        self._end += len(line)
        self._digest.update(line)
        digest = self._digest.hexdigest()
        return {"file": self._path.name, "to": self._end, "sha256": digest}

    def _goes_on(self) -> bool:
        """Whether the file takes another line; not where somebody has removed it."""
        size = self._path.stat().st_size if self._path.exists() else 0
        return self._end <= min(size, max(_GROWN * self._first, _LEAST))

    def sweep(self, number: int, oldest: int) -> None:
        """Remove files that no checkpoint is of.

        Args:
            number: round of the checkpoint that was just written.
            oldest: round of the oldest one that is left.

        """
        for path, since in list(self._retired.items()):
            self._retired[path] = since = number if since is None else since
            if since <= oldest:
                with suppress(OSError):
                    path.unlink()
                del self._retired[path]


def read(folder: Path, mark: Mapping[str, Any]) -> dict[str, Any]:
    """Read the facts of a checkpoint.

    Raises:
        TornError: they are not what was written.

    """
    path, facts = folder / FILE, None
    try:
        path = folder / mark.get("file", FILE)  # marks of before had no other
        if not _NAME.fullmatch(path.name) or path.parent != folder:
            raise ValueError("it is no name of such a file")
        with path.open("rb") as file:
            start = mark.get("from", 0)  # theirs had several processes in one file
            file.seek(start)
            data = file.read(mark["to"] - start)
        if hashlib.sha256(data).hexdigest() != mark["sha256"]:
            raise ValueError("its SHA-256 differs")
        for line in data.splitlines():
            facts = _applied(facts, json.loads(line))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise TornError(f"{path} is not what was written: {error}") from error
    return dict(facts or {})


def _files(folder: Path) -> dict[int, Path]:
    """Files of a log by their number."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("facts*.log")}
    return {int(name[1] or 0): path for path, name in found.items() if name}


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
