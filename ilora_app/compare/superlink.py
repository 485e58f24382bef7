"""A SuperLink of our own: own port, own FLWR_HOME, stopped by its process id."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ilora_app.compare import processes
from ilora_app.compare.processes import stop

BIN = Path(sys.executable).parent
CONNECTION = "own"
PID = "superlink.pid"


class SuperLinkError(RuntimeError):
    """The SuperLink does not start or does not answer."""


@dataclass(frozen=True)
class SuperLink:
    """Runs an app in Flower's simulation engine.

    Args:
        home: FLWR_HOME of the SuperLink and of the commands that talk to it.
        environment: of both.

    """

    home: Path
    environment: dict[str, str]

    def run(
        self,
        app: Path,
        run_config: str,
        federation_config: str,
        log: Path,
        timeout: float | None = None,
    ) -> int | None:
        """``flwr run --stream`` to its end, its output to ``log``.

        Args:
            app: folder of the app.
            run_config: a TOML file, or pairs ``key=value``.
            federation_config: pairs ``key=value``.
            log: file for what it says.
            timeout: seconds after which it is killed.

        Returns:
            Flower's id of the run; None where none was started.

        """
        words = ["run", str(app), CONNECTION, "--stream", "--run-config", run_config]
        words += ["--federation-config", federation_config]
        with log.open("wb") as file:
            child = self._start(words, file)
            try:
                child.wait(timeout)
            finally:
                stop(child)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            before, found, number = line.partition("Successfully started run ")
            if found and not before.strip():
                return int(number.split()[0])
        return None

    def statuses(self) -> dict[int, str]:
        """Status of every run by its id, such as ``finished:completed``."""
        words = ["list", CONNECTION, "--format", "json"]
        child = self._start(words, subprocess.PIPE)
        try:
            text = child.communicate(timeout=60)[0].decode()
            runs = json.loads(text[text.index("{") : text.rindex("}") + 1])["runs"]
        except (ValueError, KeyError, subprocess.TimeoutExpired) as error:
            raise SuperLinkError(f"flwr list gave no list of runs: {error}") from error
        finally:
            stop(child)
        return {int(run["run-id"]): str(run["status"]) for run in runs}

    def _start(
        self, words: list[str], output: int | BinaryIO
    ) -> "subprocess.Popen[bytes]":
        """Start ``flwr`` in a session of its own, out of reach of a Ctrl-C."""
        return subprocess.Popen(
            [BIN / "flwr", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.home,
            start_new_session=True,
        )


@contextmanager
def superlink(home: Path) -> Iterator[SuperLink]:
    """Start a SuperLink with the simulation engine, and stop it at the end.

    Raises:
        SuperLinkError: it ended at once, or does not listen after a minute.

    """
    home.mkdir(parents=True, exist_ok=True)
    _end_the_last_one(home / PID)
    port = _free_port()
    (home / "config.toml").write_text(
        f'[superlink.{CONNECTION}]\naddress = "127.0.0.1:{port}"\ninsecure = true\n',
        encoding="utf-8",
    )
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    command = ["--insecure", "--simulation", "--isolation", "subprocess"]
    with (home / "superlink.log").open("ab") as log:
        process = subprocess.Popen(
            [BIN / "flower-superlink", *command, "--port", str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            start_new_session=True,
        )
    (home / PID).write_text(str(process.pid), encoding="utf-8")
    try:
        _wait_for(port, process, home / "superlink.log")
        yield SuperLink(home, environment)
    finally:
        stop(process)
        (home / PID).unlink(missing_ok=True)


def _end_the_last_one(file: Path) -> None:
    """End the SuperLink of a process that was killed before it could do so."""
    with suppress(FileNotFoundError, ValueError):
        pid = int(file.read_text(encoding="utf-8"))
        if "flower-superlink" in processes.command(pid):
            processes.end(pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SuperLinkError(
                f"flower-superlink ended with {process.returncode}; see {log}"
            )
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SuperLinkError(f"flower-superlink does not listen on port {port}; see {log}")
