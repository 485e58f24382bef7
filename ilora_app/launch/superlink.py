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

from ilora_app.launch import allocator
from ilora_app.launch.flower_log import run_id_in
from ilora_app.runs import processes
from ilora_app.runs.processes import stop

BIN = Path(sys.executable).parent
CONNECTION = "own"
PID = "superlink.pid"


class SuperLinkError(RuntimeError):
    """The SuperLink does not start or does not answer."""


@dataclass(frozen=True)
class SuperLink:
    """Runs an app in Flower's simulation engine.

    Args:
        home: working directory of the commands; of a SuperLink of our own also its
            FLWR_HOME.
        environment: of both.
        connection: its name in Flower's config.toml.

    """

    home: Path
    environment: dict[str, str]
    connection: str = CONNECTION

    def begin(
        self, app: Path, run_config: str, federation_config: str, log: Path
    ) -> "subprocess.Popen[bytes]":
        """Start ``flwr run --stream``, its output to ``log``; the caller stops it.

        Args:
            app: folder of the app.
            run_config: a TOML file, or pairs ``key=value``.
            federation_config: pairs ``key=value``; empty leaves what is configured.
            log: file for what it says.

        """
        words = ["run", str(app), self.connection, "--stream"]
        words += ["--run-config", run_config]
        if federation_config:
            words += ["--federation-config", federation_config]
        with log.open("wb") as file:
            return self._start(words, file)

    def run(
        self,
        app: Path,
        run_config: str,
        federation_config: str,
        log: Path,
        timeout: float | None = None,
    ) -> int | None:
        """``flwr run --stream`` to its end.

        Args:
            app, run_config, federation_config, log: as of :meth:`begin`.
            timeout: seconds after which it is killed.

        Returns:
            Flower's id of the run; None where none was started.

        """
        child = self.begin(app, run_config, federation_config, log)
        try:
            child.wait(timeout)
        finally:
            stop(child)
        return run_id_in(log.read_text(encoding="utf-8", errors="replace"))

    def end_run(self, number: int) -> bool:
        """Have the SuperLink stop a run; returns whether it did."""
        child = self._start(["stop", str(number), self.connection], subprocess.DEVNULL)
        try:
            return child.wait(30) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            stop(child)

    def statuses(self) -> dict[int, str]:
        """Status of every run by its id, such as ``finished:completed``."""
        words = ["list", self.connection, "--format", "json"]
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


def existing(name: str) -> SuperLink:
    """A SuperLink that runs already, by its name in the user's own config.toml."""
    return SuperLink(Path.cwd(), dict(os.environ), name)


@contextmanager
def superlink(home: Path, ray_address: str = "") -> Iterator[SuperLink]:
    """Start a SuperLink with the simulation engine, and stop it at the end.

    Args:
        home: its FLWR_HOME.
        ray_address: of a Ray cluster that is there, for the clients; empty starts one.

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
    environment = os.environ | allocator.settings(os.environ)
    environment |= {
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if ray_address:
        # Flower has no setting for it; Ray's own is read where the engine calls it.
        environment["RAY_ADDRESS"] = ray_address
    # Its processes have other working directories.
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if any(places):
        whole = [str(Path(place).absolute()) for place in places if place]
        environment["PYTHONPATH"] = os.pathsep.join(whole)
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
