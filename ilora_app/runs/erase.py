"""Removes what is stored of a run that could tell of nodes' data, on this machine.

That is the checkpoints, the parts beside them, replies that a crash has left in the run
folder, and the states of nodes that lie here. A file is removed as any other: what a
disk or a backup keeps of it is not overwritten.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilora_app.runs import lock, parts
from ilora_app.runs.checkpoint import FOLDER as CHECKPOINTS
from ilora_app.runs.places import EVENTS, RUN_KEY
from ilora_app.runs.reading import events_of
from ilora_app.runs.writing import Journal


@dataclass(frozen=True)
class Item:
    """One file or folder.

    Attributes:
        path: where it is.
        holds: what is in it, in words.
        bytes: of all files.

    """

    path: str
    holds: str
    bytes: int

    @classmethod
    def of(cls, path: Path, holds: str) -> "Item":
        """Count what is there; links are not followed."""
        files = [path] if path.is_symlink() or path.is_file() else path.rglob("*")
        size = sum(f.lstat().st_size for f in files if f.is_symlink() or f.is_file())
        return cls(str(path), holds, size)


def keys_of(folder: Path) -> list[str]:
    """Names under which nodes keep their states of a run."""
    found = [e.get("key") for e in events_of(folder) if e.get("event") == "node-state"]
    for file in sorted(folder.glob(f"{CHECKPOINTS}/*/facts.json")):
        try:
            found.append(json.loads(file.read_text(encoding="utf-8"))["facts"]["key"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue
    texts = [key for key in found if isinstance(key, str) and RUN_KEY.fullmatch(key)]
    return list(dict.fromkeys(texts))


def in_run(folder: Path) -> list[Item]:
    """What of a run folder is to go."""
    named = [
        (folder / CHECKPOINTS, "checkpoints: what the server needs to go on"),
        (folder / parts.FOLDER, "parts: what the server holds of single nodes"),
    ]
    named += [
        (path, "left by a process that was killed: it may hold replies of nodes")
        for path in sorted(folder.glob(".*"))
        if path.name != lock.FILE
    ]
    return [Item.of(p, holds) for p, holds in named if p.exists() or p.is_symlink()]


def in_states(states: Path, key: str) -> list[Item]:
    """States of nodes in a state folder.

    Raises:
        ValueError: the key is none.

    """
    if not RUN_KEY.fullmatch(key):
        raise ValueError(f"{key!r}: expected 16 hexadecimal digits, the key of a run")
    place = states / key
    text = "states of nodes of this machine, and their logs of hashes"
    return [Item.of(place, text)] if place.exists() else []


def erase(items: list[Item]) -> tuple[list[Item], list[dict[str, Any]]]:
    """Remove them.

    Returns:
        Those that are gone, and those that are not with the reason.

    """
    gone, left = list[Item](), list[dict[str, Any]]()
    for item in items:
        path = Path(item.path)
        try:
            if path.is_symlink() or path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path)
        except OSError as error:
            left.append({"path": item.path, "reason": str(error)})
        else:
            gone.append(item)
    return gone, left


def note(folder: Path, gone: list[Item]) -> None:
    """Record in the events of the run what was removed."""
    names = [str(Path(item.path).name) for item in gone]
    stamp = {"time": round(time.time(), 3), "event": "erased", "removed": names}
    Journal(folder / EVENTS).append(json.dumps(stamp))
