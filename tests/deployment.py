"""A federation of real processes on loopback: TLS, node authentication, a database.

Every machine of a real federation becomes a folder with a FLWR_HOME of its own. All
processes are ended by their ids.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ilora_app.deploy import keys
from tests.conftest import read_events
from tests.own_processes import (
    BIN,
    Started,
    environment,
    free_port,
    listens,
    wait,
)

ROOT = Path(__file__).parent.parent
CONNECTION = "test"


class Run:
    """One ``flwr run``."""

    def __init__(self, federation: "Deployment", run_id: int, folder: Path) -> None:
        self.federation, self.id, self.folder = federation, run_id, folder

    def status(self) -> str:
        """Such as ``running`` or ``finished:completed``."""
        words = ["list", CONNECTION, "--run-id", self.id, "--format", "json"]
        return str(self.federation.flwr_json(*words)["runs"][0]["status"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of one kind so far; none before there is a run folder."""
        if not (self.folder / "events.jsonl").exists():
            return []
        return read_events(self.folder, kind)

    @property
    def rounds(self) -> int:
        """The last finished round; -1 before the evaluation of the start."""
        return max((event["round"] for event in self.events("round")), default=-1)

    def wait_for_round(self, number: int, timeout: float = 400) -> None:
        """Until a round has ended."""
        wait(lambda: self.rounds >= number, timeout, f"round {number}", self.context)

    def wait(self, timeout: float = 900) -> str:
        """Until the run has ended; returns its status."""
        found = [""]

        def ended() -> bool:
            found[0] = self.status()
            return found[0].startswith("finished")

        # To ask takes seconds of a core.
        wait(ended, timeout, "the run's end", self.context, every=5.0)
        return found[0]

    def context(self) -> str:
        """What helps to understand a failure."""
        return "\n".join(
            f"--- {started.log_file}\n{started.log[-3000:]}"
            for started in self.federation.started
        )


class Deployment:
    """A SuperLink and SuperNodes, each a process in a folder of its own."""

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self.folder, self.port, self.nodes = folder, free_port(), nodes
        self.keys, self.home = folder / "keys", folder / "operator"
        keys.make(keys.Request(self.keys, ("fl.example.org",), nodes))
        self.home.mkdir()
        (self.home / "config.toml").write_text(
            f"[superlink.{CONNECTION}]\n"
            f'address = "127.0.0.1:{self.port}"\n'
            f'root-certificates = "{self.keys / "ca.crt"}"\n'
        )
        self.started: list[Started] = []
        self.secret = self.keys / "superexec.secret"

    def start(self, name: str, words: list[Any], **more: str) -> Started:
        """Start a process in the folder of its machine, with more of an environment."""
        home = self.folder / name
        started = Started(words, home, self.folder / f"{name}.log", **more)
        self.started.append(started)
        return started

    def start_superlink(self) -> Started:
        """Start the SuperLink, the first time or again, on its database."""
        words = ["flower-superlink", "--host", "127.0.0.1", "--port", self.port]
        words += ["--ssl-ca-certfile", self.keys / "ca.crt"]
        words += ["--ssl-certfile", self.keys / "server.crt"]
        words += ["--ssl-keyfile", self.keys / "server.key"]
        words += [
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
        words += ["--database", self.folder / "state.db"]
        words += ["--isolation", "process", "--superexec-auth-secret-file", self.secret]
        started = self.start("superlink", words)
        wait(
            lambda: not started.running or listens(self.port),
            60,
            "the SuperLink",
            lambda: started.log,
        )
        assert started.running, started.log
        return started

    def start_executor(self) -> Started:
        """Start what runs the ServerApps: apart, so that they outlive the SuperLink."""
        words = ["flower-superexec", "--runtime-api-address", f"127.0.0.1:{self.port}"]
        words += ["--root-certificates", self.keys / "ca.crt"]
        words += ["--superexec-auth-secret-file", self.secret]
        return self.start("serverapps", words)

    def register(self, number: int) -> None:
        """Make a node's key known to the SuperLink."""
        self.flwr("supernode", "register", self.keys / f"node-{number}.pub", CONNECTION)

    def start_node(
        self,
        number: int,
        config: Mapping[str, Any],
        ca: Path | None = None,
        key: Path | None = None,
        secure: bool = True,
        **more: str,
    ) -> Started:
        """Start a SuperNode; with another CA, another key, or no TLS on request."""
        # The last one as Flower starts it: a process imports all for every message.
        warm = ["ilora", "supernode"] if number < self.nodes else ["flower-supernode"]
        words: list[Any] = list(warm)
        words += ["--superlink", f"127.0.0.1:{self.port}", "--port", free_port()]
        words += ["--node-config", pairs(config)]
        if secure:
            words += ["--root-certificates", ca or self.keys / "ca.crt"]
            words += ["--auth-supernode-private-key"]
            words += [key or self.keys / f"node-{number}"]
        else:
            words += ["--insecure"]
        return self.start(f"node-{number}", words, **more)

    def revive(self, number: int, config: Mapping[str, Any]) -> Started:
        """Start a killed SuperNode again and again until the SuperLink takes it.

        As an engine with a restart policy does: until the SuperLink has missed two
        heartbeats, it holds the node for online and refuses its key.
        """
        started = [self.start_node(number, config)]
        before = started[0].log.count("SuperNode ID")

        def accepted() -> bool:
            if not started[0].running:
                time.sleep(3)
                started[0] = self.start_node(number, config)
            return started[0].log.count("SuperNode ID") > before

        wait(accepted, 150, f"node {number} again", self._logs)
        return started[0]

    def wait_online(self, number: int, timeout: float = 60) -> None:
        """Until so many SuperNodes are online."""
        words = ("supernode", "list", CONNECTION, "--format", "json")

        def online() -> bool:
            nodes = self.flwr_json(*words)["nodes"]
            return sum(node["status"] == "online" for node in nodes) >= number

        wait(online, timeout, f"{number} nodes online", self._logs, every=1.0)

    def run(self, config: Mapping[str, Any], name: str = "run") -> Run:
        """``flwr run`` with these overrides; returns as soon as it is accepted."""
        folder = self.folder / name
        given = pairs({**config, "output-dir": str(folder)})
        words = ["run", ROOT, CONNECTION, "--run-config", given, "--format", "json"]
        return Run(self, int(self.flwr_json(*words)["run-id"]), folder)

    def flwr_json(self, *words: Any) -> dict[str, Any]:
        """``flwr ... --format json``, read."""
        text = self.flwr(*words)
        found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return found

    def flwr(self, *words: Any) -> str:
        """``flwr`` to its end; returns what it said."""
        done = subprocess.run(
            [BIN / "flwr", *map(str, words)],
            env=environment(self.home),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _logs(self) -> str:
        return "\n".join(started.log[-3000:] for started in self.started)


@contextmanager
def deployment(folder: Path, nodes: int = 3) -> Iterator[Deployment]:
    """A federation with a running SuperLink and registered nodes, ended at the end."""
    federation = Deployment(folder, nodes)
    try:
        federation.start_superlink()
        federation.start_executor()
        for number in range(1, nodes + 1):
            federation.register(number)
        yield federation
    finally:
        for started in reversed(federation.started):
            started.end()


def pairs(config: Mapping[str, Any]) -> str:
    """Write ``key=value`` pairs as Flower's command line takes them."""
    return " ".join(
        f"{key}='{value}'" if isinstance(value, str) else f"{key}={json.dumps(value)}"
        for key, value in config.items()
    )
