"""One server at a time in a run folder."""

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from ilora_app.runs.places import through_no_link

FILE = ".lock"

_MOMENT = 0.1  # seconds


class BusyError(RuntimeError):
    """Another server is at work in a run folder; says which process, and where."""


def hold(folder: Path) -> TextIO:
    """Keep others out of a run folder until the file returned is closed.

    The lock goes with the process, however it ends. On a file system without locks
    there is none.

    Raises:
        BusyError: another has it.
        OSError: the file cannot be opened, or is a link.

    """
    path = folder / FILE
    file = open(path, "a+", encoding="utf-8", opener=through_no_link)  # noqa: SIM115
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Who asks whether it is held, as a list of runs does, has it for a moment.
            time.sleep(_MOMENT)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        said = _said(file, folder)
        file.close()
        raise BusyError(said) from error
    except OSError:
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def busy(folder: Path) -> str:
    """Say who is at work in a run folder, or nothing; changes nothing in it."""
    with contextlib.suppress(OSError), (folder / FILE).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(file, folder)
    return ""


def _said(file: TextIO, folder: Path) -> str:
    file.seek(0)
    holder = file.read(200).strip() or "another process"
    return f"{holder} is at work in {folder}"
