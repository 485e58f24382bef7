"""Ends processes that were started here, with all that they have started."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

Process = subprocess.Popen[bytes]


def stop(process: Process) -> None:
    """End a process that was started here, and its descendants."""
    end(process.pid)
    process.wait()


def end(pid: int, patience: float = 20.0) -> None:
    """End a process and its descendants: by request, and by force after a while.

    Flower's and Ray's processes lead sessions of their own, so that a signal to a
    process group does not reach them all.
    """
    below = descendants(pid)
    _end([pid], patience)
    _end(below, patience / 4)


def descendants(pid: int) -> list[int]:
    """Ids of the processes that one has started, and those have started, ..."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    new = [pid]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be read does not."""
    return any(pid == other for other, _ in _parents())


def running() -> list[int]:
    """Ids of all processes."""
    return [pid for pid, _ in _parents()]


def _parents() -> list[tuple[int, int]]:
    """(process, its parent) of every process."""
    if not Path("/proc/self/stat").exists():
        table = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout
        return [(int(p), int(q)) for p, q in map(str.split, table.splitlines())]
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may hold anything.
            state = file.read_text(errors="replace").rpartition(")")[2].split()
            if state[0] != "Z":
                found.append((int(file.parent.name), int(state[1])))
    return found


def command(pid: int) -> str:
    """Command line of a process; empty where there is no such process."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        return text.replace("\0", " ")
    if Path("/proc/self/stat").exists():
        return ""
    words = ["ps", "-p", str(pid), "-o", "args="]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


def _end(pids: Sequence[int], patience: float) -> None:
    _signal(pids, signal.SIGTERM)
    last = time.monotonic() + patience
    while any(map(alive, pids)) and time.monotonic() < last:
        time.sleep(0.1)
    _signal(pids, signal.SIGKILL)


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in filter(alive, pids):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
