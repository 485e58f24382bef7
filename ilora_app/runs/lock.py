"""One server at a time in a run folder."""

import fcntl
import os
import socket
from io import TextIOWrapper
from pathlib import Path

_FILE = ".lock"


class BusyError(RuntimeError):
    """Another server is at work in a run folder; says which process, and where."""


def hold(folder: Path) -> TextIOWrapper:
    """Keep others out of a run folder until the file returned is closed.

    The lock goes with the process, however it ends. On a file system without locks
    there is none.

    Raises:
        BusyError: another has it.

    """
    file = (folder / _FILE).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        file.close()
        raise BusyError(f"{holder} is at work in {folder}") from error
    except OSError:
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def busy(folder: Path) -> str:
    """Say who is at work in a run folder, or nothing."""
    if not (folder / _FILE).exists():
        return ""
    try:
        hold(folder).close()
    except BusyError as error:
        return str(error)
    except OSError:  # not ours to write: resuming says so better
        return ""
    return ""
