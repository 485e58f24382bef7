"""A SuperLink of our own for tests: own port, own FLWR_HOME, stopped by its id."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class SuperLink:
    """Runs the app of this repository in its simulation engine."""

    home: Path
    environment: dict[str, str]

    def run(self, run_config: dict[str, Any], federation: str, timeout: float) -> str:
        """``flwr run`` to its end; returns the log."""
        pairs = " ".join(f"{k}={_toml(v)}" for k, v in run_config.items())
        done = self._flwr(
            "run", str(ROOT), "test", "--stream", "--run-config", pairs,
            "--federation-config", federation, timeout=timeout,
        )  # fmt: skip
        return done.stdout + done.stderr

    def statuses(self) -> list[str]:
        """Status of every run, the newest first."""
        done = self._flwr("list", "test", "--format", "json", timeout=60)
        runs = json.loads(done.stdout[done.stdout.index("{") :])["runs"]
        return [run["status"] for run in runs]

    def _flwr(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "flwr", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.home,
        )


@contextmanager
def superlink(home: Path) -> Iterator[SuperLink]:
    """Start a SuperLink with the simulation engine, and stop it at the end."""
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    (home / "config.toml").write_text(
        f'[superlink.test]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = os.environ | {
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    log = (home / "superlink.log").open("w")
    process = subprocess.Popen(
        [
            BIN / "flower-superlink", "--insecure", "--simulation",
            "--isolation", "subprocess", "--port", str(port),
        ],
        env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=home,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        yield SuperLink(home, environment)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"flower-superlink ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"flower-superlink did not listen on port {port} in 60 s")


def _toml(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)
