"""Manifests and units hold what the programs take, and what their checkers accept."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.common.config import parse_config_args

from ilora_app.deploy import keys
from tests.compose import entrypoint
from tests.own_processes import BIN

ROOT = Path(__file__).parent.parent
KUBERNETES, SYSTEMD = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "systemd"
FILES = sorted(KUBERNETES.glob("*/*.yaml"))
UNITS = sorted(SYSTEMD.glob("*.service"))


# One process, as most of its time goes into imports that they share.
HELP = """
import runpy, sys
for script in sys.argv[1:]:
    print(end="\\0", flush=True)
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code
"""


def program(words: list[str]) -> tuple[str, list[str]]:
    """Flower's program whose options these are, and the options."""
    if words[:2] == ["ilora", "supernode"]:
        return "flower-supernode", words[2:]
    return words[0], words[1:]


def resources() -> Iterator[dict[str, Any]]:
    for file in FILES:
        if file.name != "kustomization.yaml":
            yield from yaml.safe_load_all(file.read_text())


def pods() -> dict[str, dict[str, Any]]:
    """Pod specs by the name of what makes them."""
    found = [one for one in resources() if one["kind"] == "StatefulSet"]
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found}


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Options that each of Flower's programs has."""
    names = ("flower-superlink", "flower-superexec", "flower-supernode")
    words = [sys.executable, "-c", HELP, *(str(BIN / name) for name in names)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said = dict(zip(names, done.stdout.split("\0")[1:], strict=True))
    assert all("usage: " + name in text for name, text in said.items())
    return {n: set(re.findall(r"--[a-z][a-z-]+", said[n])) for n in names}


@pytest.mark.parametrize("version", ["1.28", "latest"])
def test_resources_are_those_of_the_schemas_of_kubernetes(version):
    checker = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate (extra test) is absent"
    )
    version = checker.latest_version() if version == "latest" else version
    names = [one["metadata"]["name"] for one in resources()]
    assert {"superlink", "serverapps", "supernode"} <= set(names)
    for one in resources():
        checker.validate(one, version, strict=True)
    broken = next(one for one in resources() if one["kind"] == "StatefulSet")
    broken["spec"]["replica"] = 2
    with pytest.raises(checker.ValidationError):
        checker.validate(broken, version, strict=True)


@pytest.mark.parametrize("folder", ["superlink", "supernode"])
def test_kustomize_builds_all_resources(folder):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    words = ["kubectl", "kustomize", str(KUBERNETES / folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kinds = [one["kind"] for one in yaml.safe_load_all(done.stdout)]
    own = [f for f in FILES if f.parent.name == folder and f.stem != "kustomization"]
    given = [one for file in own for one in yaml.safe_load_all(file.read_text())]
    assert sorted(kinds) == sorted(one["kind"] for one in given)


def test_the_overlay_of_the_guide_changes_what_it_says(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    guide = (ROOT / "docs" / "deploy.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    [overlay] = [block for block in blocks if "[../supernode]" in block]
    shutil.copytree(KUBERNETES / "supernode", tmp_path / "supernode")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(overlay)
    words = ["kubectl", "kustomize", str(tmp_path / "own")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    spec = built["StatefulSet"]["spec"]
    [container] = spec["template"]["spec"]["containers"]
    assert spec["ordinals"]["start"] == 2
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (values["SUPERLINK"], values["RANK"]) == ("fl.example.org:9091", "16")
    assert container["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 1}


def test_pods_are_confined_bounded_probed_and_find_what_they_mount(options):
    claims = {
        one["metadata"]["name"]: {
            claim["metadata"]["name"]
            for claim in one["spec"].get("volumeClaimTemplates", ())
        }
        for one in resources()
        if one["kind"] == "StatefulSet"
    }
    for name, pod in pods().items():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert {"startupProbe", "livenessProbe"} <= set(container)
        target = container["image"].split(":")[0].removeprefix("ilora-")
        words = container.get("command") or entrypoint(target)
        of, own = program([*words, *container["args"]])
        assert {word.split("=")[0] for word in own} <= options[of], name
        volumes = {volume["name"] for volume in pod["volumes"]} | claims[name]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        places = [mount["mountPath"] for mount in container["volumeMounts"]]
        for word in container["args"]:
            for path in re.findall(r"/[\w./-]+\w", word):
                assert any(path.startswith(place) for place in places), path


def test_secrets_hold_files_that_the_keys_command_makes(tmp_path):
    """By the names in the pods' arguments and mounts."""
    keys.make(keys.Request(tmp_path / "keys", ("superlink.ilora",), 1))
    made = {file.name for file in (tmp_path / "keys").iterdir()}
    asked = {name: secret_files(pod) for name, pod in pods().items()}
    named = {name.replace("$(NODE)", "1") for names in asked.values() for name in names}
    assert named <= made
    assert "server.key" not in asked["serverapps"] | asked["supernode"]
    guide = (ROOT / "docs" / "deploy.md").read_text()
    for pod in pods().values():
        [secret] = [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
        assert f"secret generic {secret}" in guide


def test_a_pod_of_a_node_sees_of_all_nodes_keys_its_own():
    """What a run sends is executed in every pod, and could pose as other nodes."""
    [container] = pods()["supernode"]["containers"]
    mounts = [m for m in container["volumeMounts"] if m["name"] == "keys"]
    parts = [mount.get("subPath") or mount.get("subPathExpr") for mount in mounts]
    assert sorted(parts) == ["ca.crt", "node-$(NODE)"]
    assert secret_files(pods()["supernode"]) == set(parts)
    [number] = [entry for entry in container["env"] if entry["name"] == "NODE"]
    assert "pod-index" in number["valueFrom"]["fieldRef"]["fieldPath"]


@pytest.mark.parametrize("rank", ["16", "auto"])
def test_a_pod_of_a_node_has_the_rank_of_its_environment(rank):
    word = args(pods()["supernode"])[-1].removeprefix("--node-config=")
    assert parse_config_args([word.replace("$(RANK)", rank)])["lora-rank"] == rank


def secret_files(pod: dict[str, Any]) -> set[str]:
    """Names in its secret of the files that a pod's arguments name."""
    mounts = pod["containers"][0]["volumeMounts"]
    parts = {m["mountPath"]: m.get("subPath") or m.get("subPathExpr") for m in mounts}
    paths = re.findall(r"/run/secrets/ilora/[\w.-]+", " ".join(args(pod)))
    return {parts.get(path) or path.rpartition("/")[2] for path in paths}


def args(pod: dict[str, Any]) -> list[str]:
    return list(pod["containers"][0]["args"])


@pytest.fixture
def units(tmp_path) -> list[Path]:
    """The units, with the programs of here, and a number for what has one."""
    found = []
    for unit in UNITS:
        place = tmp_path / unit.name.replace("@.", "@2.")
        place.write_text(unit.read_text().replace("/opt/ilora/bin", str(BIN)))
        found.append(place)
    return found


def test_systemd_accepts_the_units_and_finds_them_confined(units):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    assert len(units) == 3
    words = ["systemd-analyze", "verify", *map(str, units)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for unit in units:
        words = ["systemd-analyze", "security", "--offline=true", "--no-pager"]
        # Of 100: how exposed a service is; without any confinement it is 96.
        words += ["--threshold=20", str(unit)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-300:]


def test_units_give_options_that_the_programs_have(options):
    for unit in UNITS:
        text = unit.read_text().replace("\\\n", " ")
        [command] = re.findall(r"^ExecStart=/opt/ilora/bin/(.*)$", text, re.MULTILINE)
        of, words = program(command.split())
        given = {word for word in words if word.startswith("--")}
        assert given
        assert given <= options[of]
        loaded = set(re.findall(r"^LoadCredential=([\w.]+):", text, re.MULTILINE))
        assert set(re.findall(r"CREDENTIALS_DIRECTORY}/([\w.]+)", text)) == loaded
        for limit in (
            "MemoryMax",
            "TasksMax",
            "LimitNOFILE",
            "Restart",
            "LogNamespace",
        ):
            assert f"\n{limit}=" in text, limit
        # Flower starts these by name, and systemd knows nothing of /opt.
        [path] = re.findall(r"^Environment=PATH=(.*)$", text, re.MULTILINE)
        path = path.replace("/opt/ilora/bin", str(BIN))
        started = "flower-superexec", "flwr-serverapp", "flwr-clientapp"
        assert all(shutil.which(one, path=path) for one in started)
    example = (SYSTEMD / "node.env.example").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)\}", UNITS[2].read_text()))
    named = set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
    assert used - {"CREDENTIALS_DIRECTORY"} == named
