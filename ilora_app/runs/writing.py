"""Files of a run, none of which ends it where a disk is full: that is told once."""

import glob
import os
import secrets
import stat
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import INFO, WARNING
from pathlib import Path

from ilora_app.runs.places import through_no_link

_MOST_LINES = 100_000
# Seconds after which a file that is still being written has no writer any more.
_ABANDONED = 3600.0


class PlaceError(RuntimeError):
    """A run folder in which a run cannot begin or end, as it cannot be written."""


def of_the_disk(error: Exception) -> bool:
    """Whether an error says that a file could not be written.

    Libraries written in Rust have errors of their own, with the system's words.
    """
    return isinstance(error, OSError) or "(os error " in str(error)


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, on systems that can open one."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_flushed(folder: Path) -> None:
    """Make a folder for its owner alone, and those above it; flush their names."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in missing:
        flush(made.parent)


def whole(path: Path, text: str, flushed: bool = False) -> None:
    """Write a file, or leave the one of that name as it is.

    Args:
        path: of the file.
        text: that is in it.
        flushed: it is there even where the machine loses its power a moment later.

    Raises:
        OSError: the disk is full, or the place cannot be written.

    """
    # A name of its own: another who writes the same file would write into this one.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    try:
        _clear(path)
        # Made anew: through a link it would be written to wherever that leads.
        with temporary.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
        if flushed:
            flush(temporary)
        temporary.replace(path)
        if flushed:
            flush(path.parent)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _clear(path: Path) -> None:
    """Remove what writers that were killed have left beside a file.

    Raises:
        OSError: something there cannot be removed.

    """
    fixed = f".{path.name}.tmp"  # as all were once named
    for left in path.parent.glob(f".{glob.escape(path.name)}*.tmp"):
        with suppress(FileNotFoundError):
            known = left.lstat()
            old = time.time() - known.st_mtime > _ABANDONED
            if old or left.name == fixed or stat.S_ISLNK(known.st_mode):
                left.unlink()


class Attempts:
    """Says once that a file cannot be written, and once that it can be again."""

    def __init__(self, path: Path) -> None:
        self._path, self._failing = path, False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Try to write; a failure of the system is a warning."""
        try:
            yield
        except OSError as error:
            from flwr.supercore import log  # slow to import, for who only writes

            if not self._failing:
                text = "%s cannot be written: %s; the run goes on without"
                log(WARNING, text, self._path.name, error)
            self._failing = True
        else:
            if self._failing:
                from flwr.supercore import log

                log(INFO, "%s is written again", self._path.name)
            self._failing = False


class Journal:
    """Appends whole lines to a file; those that do not fit wait until there is room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._attempts = Attempts(path)
        self._waiting: deque[str] = deque(maxlen=_MOST_LINES)

    def append(self, line: str) -> None:
        """Write a line, and those that wait before it."""
        self._waiting.append(f"{line}\n")
        with self._attempts.attempt():
            self._write("".join(self._waiting).encode())
            self._waiting.clear()

    def mend(self) -> None:
        """Cut off a line that a crash left unfinished."""
        if self._path.exists():
            data = self._path.read_bytes()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                os.truncate(self._path, end)

    def _write(self, data: bytes) -> None:
        with open(self._path, "ab", buffering=0, opener=through_no_link) as file:
            end, left = file.seek(0, os.SEEK_END), memoryview(data)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
