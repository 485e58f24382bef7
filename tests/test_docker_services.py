"""The compose files start a federation that runs."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ilora_app.deploy import keys
from ilora_app.runs import processes
from tests.compose import DOCKER, Machine, env_file, load, order
from tests.deployment import pairs
from tests.hospitals import deal_out
from tests.test_docker import RANKS


@pytest.fixture
def example() -> dict[str, str]:
    return env_file(DOCKER / ".env.example")


class Up:
    """``up`` without containers: services in their order, each once it is healthy."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.folder.mkdir(exist_ok=True)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        log = self.machine.folder / f"{name}.log"
        with log.open("ab") as file:
            self.running[name] = subprocess.Popen(
                self.machine.words(name),
                env=self.machine.environment(name),
                cwd=self.machine.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_healthy(self, name: str) -> None:
        end = time.monotonic() + 90
        while self.run(self.machine.health(name), name).returncode:
            assert self.running[name].poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name)
            time.sleep(1)

    def operator(self, *command: str) -> str:
        """``docker compose run --rm operator ...``"""
        done = self.run(self.machine.words("operator", list(command)), "operator")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_to_the_end(self, connection: str, config: dict[str, Any]) -> None:
        """``operator run``; the run must succeed."""
        words = ("run", "/app", connection, "--stream", "--run-config", pairs(config))
        log = self.operator(*words)
        runs = self.operator("list", connection, "--format", "json")
        assert "finished:completed" in runs, log

    def run(self, words: list[str], name: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words,
            env=self.machine.environment(name),
            cwd=self.machine.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def log(self, name: str) -> str:
        return (self.machine.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in reversed(self.running.values()):
            processes.stop(process)


@pytest.fixture
def up(request, tmp_path, small_data, example):
    """A machine with keys and data, and the services of a file not yet started."""
    keys.make(keys.Request(tmp_path / "keys", ("superlink",), 3))
    deal_out(Path(small_data) / "train.jsonl", tmp_path / "data")
    example |= {"ILORA_KEYS": str(tmp_path / "keys"), "ILORA_TEST_DATA": small_data}
    found = Up(Machine(load(request.param, example), tmp_path / "machine"))
    yield found
    found.stop()


@pytest.fixture
def nodes(up, example, tmp_path):
    """Machines of three nodes, as an environment makes them of one file."""
    found = []
    for n, rank in RANKS.items():
        data = str(tmp_path / "data" / f"node-{n}")
        own = {"ILORA_NODE": str(n), "NODE_RANK": str(rank), "NODE_DATA": data}
        compose = load("compose.node.yml", example | own)
        # The port of the SuperLink is that of the other project.
        ports = {"9091": up.machine.port("9091")}
        found.append(Up(Machine(compose, tmp_path / f"machine-{n}", ports)))
    yield found
    for one in found:
        one.stop()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("up", ["compose.yml"], indirect=True)
def test_the_services_run_a_federation(up, nodes, tiny_model):
    """Every exact command and environment, in the order of depends_on."""
    machine = up.machine
    machine.install_flower_config("operator")
    assert order(machine.compose["services"]) == ["superlink", "serverapps"]
    up.start("superlink")
    up.wait_healthy("superlink")
    for n in RANKS:
        # The guide mounts this one file: `run -v`.
        key = machine.folder.parent / "keys" / f"node-{n}.pub"
        up.operator("supernode", "register", str(key), "federation")
    up.start("serverapps")
    for node in nodes:
        node.start("supernode")
    for node in nodes:
        node.wait_healthy("supernode")
    # What a run config names is looked for where the ServerApp runs.
    dataset = machine.translate("serverapps", "/data/server")
    config = {"dataset": dataset, "model": tiny_model, "local-steps": 2}
    config |= {"num-server-rounds": 1, "min-available-nodes": 3}
    up.run_to_the_end("federation", config)
    runs = machine.folder / "volumes" / "serverapps" / ".ilora" / "runs"
    [run] = runs.iterdir()
    for rank in RANKS.values():
        assert (run / f"adapter-r{rank}" / "adapter_model.safetensors").exists()
    words = [word for node in nodes for word in node.machine.words("supernode")]
    assert all(str(machine.folder.parent) in w for w in words if "data-path" in w)
    state = (machine.folder / "volumes" / "superlink" / "state.db").stat()
    assert state.st_size > 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("up", ["compose.simulation.yml"], indirect=True)
def test_the_simulation_runs(up, tiny_model, small_data):
    up.machine.install_flower_config("operator")
    assert order(up.machine.compose["services"]) == ["superlink"]
    up.start("superlink")
    up.wait_healthy("superlink")
    config = {"dataset": small_data, "model": tiny_model, "local-steps": 2}
    config |= {"num-server-rounds": 1}
    up.run_to_the_end("simulation", config)
