"""Processes of their own for tests: each in a folder, with a log, ended by its id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ilora_app.runs import processes

BIN = Path(sys.executable).parent


class Started:
    """A process with its log; what it has started ends with it."""

    def __init__(self, words: list[Any], home: Path, log: Path, **more: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.log_file = log
        self.words = [str(word) for word in words]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [BIN / self.words[0], *self.words[1:]],
                env=environment(home) | more,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=home,
                start_new_session=True,
            )
        self._below: set[int] = set()

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to this process alone, as the kernel does; nothing is cleaned up."""
        self._below |= set(processes.descendants(self.process.pid))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end, as an operator or an engine does; returns its exit code."""
        self._below |= set(processes.descendants(self.process.pid))
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def orphans(self) -> list[int]:
        """What it has started and has outlived it."""
        return [pid for pid in self._below if processes.alive(pid)]

    def end(self) -> None:
        """Leave nothing behind."""
        if self.running:
            self._below |= set(processes.descendants(self.process.pid))
            processes.stop(self.process)
        for pid in self.orphans():
            processes.end(pid, patience=2)


def environment(home: Path) -> dict[str, str]:
    """Environment of one machine of the federation."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLWR_")}
    return inherited | {
        "FLWR_HOME": str(home),
        "ILORA_STATE": str(home / "state"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def wait(
    condition: Callable[[], bool],
    timeout: float,
    what: str,
    context: Callable[[], str],
    every: float = 0.2,
) -> None:
    """Until a condition holds.

    Raises:
        AssertionError: it does not in time.

    """
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {timeout} s\n{context()}")
        time.sleep(every)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
