"""The images name what exists, and the compose files start a federation that runs."""

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import Distribution, distributions, version

import pytest
from flwr.common.config import parse_config_args
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ilora_app.node import config
from tests.compose import DOCKER, env_file, load, order, steps
from tests.deployment import ROOT

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


def test_installed_versions_are_pinned_and_fit_the_app_and_each_other():
    text = (DOCKER / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in text if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["demo"]
    left, seen = [Requirement(text) for text in wanted], set()
    here = {
        (canonicalize_name(d.name), d.version.split("+")[0]): d for d in distributions()
    }
    while left:
        one = left.pop()
        name = canonicalize_name(one.name)
        assert one.specifier.contains(pinned[name]), f"{one}, and it is {pinned[name]}"
        if str(one) not in seen and (name, pinned[name]) in here:
            left += needs(one, here[name, pinned[name]])
        seen.add(str(one))
    assert pinned["flwr"] == version("flwr"), "what the tests ran with"


def needs(one: Requirement, here: Distribution) -> list[Requirement]:
    """What an installed package asks for in the image."""
    image = {"python_version": "3.12", "python_full_version": "3.12.8"}
    places = [image | {"extra": extra} for extra in one.extras or {""}]
    found = [Requirement(text) for text in here.requires or ()]
    # These come with torch, which pins them.
    own = [r for r in found if not r.name.startswith(("cuda", "nvidia", "triton"))]
    return [r for r in own if not r.marker or any(map(r.marker.evaluate, places))]


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


@pytest.mark.parametrize(("given", "read"), [("16", "16"), ("auto", "auto"), ("", "4")])
def test_a_node_has_the_rank_of_its_environment(given, read, example):
    node = load("compose.node.yml", example | {"NODE_RANK": given})["services"]
    word = node["supernode"]["command"][-1].removeprefix("--node-config=")
    found = parse_config_args([word])
    assert found == {"data-path": "/data/node", "lora-rank": read}
    assert config.problems(found) == []


def test_nodes_differ_in_rank_data_and_key_by_the_environment_alone(example):
    own = {"ILORA_NODE": "7", "NODE_RANK": "16", "NODE_DATA": "/srv/seven"}
    compose = load("compose.node.yml", example | own)
    node = compose["services"]["supernode"]
    assert node["command"][-1].endswith(' lora-rank="16"')
    assert "/srv/seven:/data/node:ro" in node["volumes"]
    assert compose["secrets"]["node"]["file"] == "./keys/node-7"
    # Its state is its project's.
    assert compose["volumes"] == {"node": None, "models": None}
    assert "container_name" not in node


def test_a_container_gets_the_keys_that_it_needs_and_no_folder_of_them(example):
    given = {}
    for file in ("compose.yml", "compose.node.yml"):
        compose = load(file, example | {"ILORA_KEYS": "/keys", "ILORA_NODE": "7"})
        for name, service in compose["services"].items():
            places = [volume.split(":")[0] for volume in service["volumes"]]
            places += [compose["secrets"][one]["file"] for one in service["secrets"]]
            given[name] = sorted(p for p in places if p.startswith("/keys"))
    assert given == {
        "superlink": [
            "/keys/ca.crt", "/keys/server.crt", "/keys/server.key",
            "/keys/superexec.secret",
        ],
        "serverapps": ["/keys/ca.crt", "/keys/superexec.secret"],
        "operator": ["/keys/ca.crt"],
        "supernode": ["/keys/ca.crt", "/keys/node-7"],
    }  # fmt: skip


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
