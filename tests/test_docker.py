"""The images name what exists, and the compose files start a federation that runs."""

import re
import shutil
import subprocess
import time
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ilora_app.deploy import keys
from ilora_app.runs import processes
from tests.compose import DOCKER, Machine, env_file, load, order, steps
from tests.deployment import ROOT, pairs
from tests.hospitals import deal_out

FILES = ("compose.yml", "compose.node.yml", "compose.simulation.yml")
BOTH = ["-f", "compose.node.yml", "-f", "compose.gpu.yml"]
RANKS = {1: 4, 2: 8, 3: 16}


@pytest.fixture
def example() -> dict[str, str]:
    return env_file(DOCKER / ".env.example")


def test_every_file_that_an_image_copies_is_there_and_not_ignored():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    copied = [s[1:-1] for s in steps(DOCKER / "Dockerfile") if s[0] in ("COPY", "ADD")]
    assert len(copied) >= 3
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert name in allowed, f"{name} is kept out by .dockerignore"


def test_a_missing_file_would_be_found(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM a\nCOPY x \\\n  y /z/\n# COPY no no\n")
    assert steps(tmp_path / "Dockerfile") == [["FROM", "a"], ["COPY", "x", "y", "/z/"]]


def test_images_run_without_root_and_install_nothing_at_run_time():
    text = (DOCKER / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    assert stages == [("${BASE}", "app"), ("app", "superlink"), ("app", "supernode")]
    users = [s[1] for s in steps(DOCKER / "Dockerfile") if s[0] == "USER"]
    assert users == ["ilora"]
    assert "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1" in text
    assert ":latest" not in text


def test_installed_versions_are_pinned_and_are_those_that_the_app_asks_for():
    text = (DOCKER / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in text if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["demo"]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains(pinned[name]), requirement
    assert pinned["flwr"] == version("flwr"), "what the tests ran with"


@pytest.mark.parametrize("name", FILES)
def test_services_restart_check_their_health_and_hold_no_secret(name, example):
    compose = load(name, example)
    for service in (compose["services"][n] for n in order(compose["services"])):
        assert service["restart"] == "unless-stopped"
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "1000" or service["user"] == 1000
        if "superexec" not in str(service.get("entrypoint")):
            assert service["healthcheck"]["test"][0] == "CMD"
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])
        for value in service["environment"].values():
            assert "PRIVATE" not in str(value)
    for secret in compose.get("secrets", {}).values():
        assert set(secret) == {"file"}


def test_nodes_differ_in_rank_data_and_key_by_the_environment_alone(example):
    own = {"ILORA_NODE": "7", "NODE_RANK": "16", "NODE_DATA": "/srv/seven"}
    compose = load("compose.node.yml", example | own)
    node = compose["services"]["supernode"]
    assert node["command"][-1] == "--node-config=data-path='/data/node' lora-rank=16"
    assert "/srv/seven:/data/node:ro" in node["volumes"]
    assert compose["secrets"]["node"]["file"] == "./keys/node-7"
    # Its state is its project's.
    assert compose["volumes"] == {"node": None, "models": None}
    assert "container_name" not in node


def test_the_example_names_every_variable_that_is_used(example):
    used = set()
    for file in DOCKER.glob("compose*.yml"):
        used |= set(re.findall(r"\$\{(\w+)", file.read_text()))
    assert used == set(example)


def test_a_gpu_is_reserved_for_a_node(example):
    service = load("compose.gpu.yml", example | {"NODE_GPU": "1"})["services"]
    reserved = service["supernode"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved[0]["device_ids"] == ["1"]
    assert reserved[0]["capabilities"] == ["gpu"]
    assert set(service) == set(load("compose.node.yml", example)["services"])


@pytest.mark.parametrize(
    "files", [*(["-f", name] for name in FILES), BOTH], ids=" ".join
)
def test_compose_itself_accepts_the_files(files):
    command = _compose()
    words = [*command, "--env-file", ".env.example", *files, "config"]
    done = subprocess.run(
        words, cwd=DOCKER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _compose() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if shutil.which("docker"):
        words = ["docker", "compose", "version"]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return words[:2]
    pytest.skip("neither docker-compose nor docker compose is installed")


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
        up.operator("supernode", "register", f"/keys/node-{n}.pub", "federation")
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
