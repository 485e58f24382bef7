"""``ilora doctor``: every look, where all is well and where it is not."""

import http.server
import json
import re
import socket
import threading
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from packaging.requirements import Requirement
from PIL import Image
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.doctor import connections, examine, installed, machine, variables
from ilora_app.node.node import Node
from ilora_app.tasks.sources import DataError

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text())["project"]


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", str(free_port()))
    for name in ("ILORA_SHARED", "ILORA_STATE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_looks_at_everything_and_exits_with_1_on_a_problem(monkeypatch):
    result = CliRunner().invoke(app, ["doctor", "--offline", "--json"])
    found = {one["name"]: one for one in json.loads(result.output)}
    problems = [one for one in found.values() if one["state"] == "problem"]
    assert result.exit_code == (1 if problems else 0)
    for name in ("Python", "torch", "flwr", "ray", "transformers", "peft", "CPU"):
        assert name in found, name
    assert found["torch"]["found"].startswith(metadata.version("torch"))
    assert "model hub" not in found
    number, noun = found["CPU"]["found"].split()
    assert noun == ("core" if number == "1" else "cores")
    monkeypatch.setenv("ILORA_SHARED", "/no/such/folder")
    result = CliRunner().invoke(app, ["doctor", "--offline"])
    assert result.exit_code == 1
    assert "problem  ILORA_SHARED: '/no/such/folder' is no folder" in result.output
    assert "-> set ILORA_SHARED to a folder that is there" in result.output


@pytest.mark.parametrize(
    ("requirement", "state", "said"),
    [
        ("torch>=2.0", "ok", ""),
        *((text, "ok", "") for text in PROJECT["dependencies"]),
        ("torch<2.0", "problem", "<2.0 is needed"),
        ("no-such-package>=1", "problem", "not installed"),
    ],
)
def test_a_package_against_its_bounds(requirement, state, said):
    found = installed.package(Requirement(requirement))
    assert found.state == state
    assert said in found.found
    assert bool(found.advice) == (state == "problem")


def test_an_old_python_is_a_problem(monkeypatch):
    monkeypatch.setattr(installed.platform, "python_version", lambda: "3.9.1")
    first = next(installed.python())
    assert first.state == "problem"
    assert first.found.startswith("3.9.1")


def test_a_clone_goes_by_its_own_file_and_a_wheel_by_what_is_installed(
    monkeypatch, tmp_path
):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        "[project]\nrequires-python = '>=9'\ndependencies = ['numpy>=99']\n"
        "[tool.flwr.app]\n"
    )
    monkeypatch.setattr(installed, "ROOT", tmp_path)
    assert next(installed.python()).state == "problem"
    first = next(installed.packages())
    assert (first.name, first.state, first.advice) == (
        "numpy", "problem", 'pip install "numpy>=99"',
    )  # fmt: skip
    project.unlink()
    assert next(installed.python()).state == "ok"
    assert "flwr" in {found.name for found in installed.packages()}


def test_little_memory_and_little_room(monkeypatch, tmp_path):
    from ilora_app.node import auto_rank

    for free, state in ((int(1e9), "problem"), (int(3e9), "warning"), (10**11, "ok")):
        monkeypatch.setattr(auto_rank, "free_memory", lambda _, free=free: free)
        assert next(machine.memory()).state == state
    usage = type("Usage", (), {"free": 1e8})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    found = machine.folder("runs", tmp_path / "new" / "folder")
    assert found.state == "problem"
    assert "ilora runs rm" in found.advice
    assert not (tmp_path / "new").exists(), "it looks, and makes nothing"
    assert next(machine.shared_memory()).state == "warning"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    found = machine.folder("runs", tmp_path / "file" / "runs")
    assert found.state == "problem"
    assert "cannot be written" in found.found


def test_a_superlink_that_was_left(monkeypatch):
    assert next(connections.local_superlink()).state == "ok"
    with socket.socket() as left:
        left.bind(("127.0.0.1", 0))
        left.listen()
        port = left.getsockname()[1]
        monkeypatch.setenv("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", str(port))
        (found,) = connections.local_superlink()
    assert found.state == "warning"
    assert f"127.0.0.1:{port}" in found.found
    assert "ilora run" in found.advice


def test_the_hub(monkeypatch):
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_ENDPOINT", address)
        (found,) = connections.hub()
        assert (found.state, found.found) == ("ok", "127.0.0.1 answers (403)")
        server.shutdown()
    secret = f"http://user:secret@127.0.0.1:{free_port()}"
    for address in (secret, "file:///etc/passwd"):
        monkeypatch.setenv("HF_ENDPOINT", address)
        (found,) = connections.hub()
        assert found.state == "warning", address
        assert found.advice
        assert "secret" not in found.found
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert next(connections.hub()).state == "ok"


def test_variables(monkeypatch, tmp_path):
    for name in [n for n in variables.os.environ if n.startswith("ILORA_")]:
        monkeypatch.delenv(name)
    assert next(variables.variables()).found == "no ILORA_* variable is set"
    monkeypatch.setenv("ILORA_SHARED", str(tmp_path))
    monkeypatch.setenv("ILORA_STAET", "secret")
    good, typo = variables.variables()
    assert (good.name, good.state) == ("ILORA_SHARED", "ok")
    assert typo.state == "warning"
    assert typo.advice == "did you mean ILORA_STATE?"
    assert "secret" not in typo.found


def test_every_variable_that_is_documented_is_known():
    root = Path(__file__).parent.parent
    files = [*root.glob("docs/*.md"), root / "README.md", *root.glob("docker/*.y*ml")]
    files += [*root.glob("docker/.env*"), *root.glob("docker/Dockerfile*")]
    texts = [file.read_text() for file in files]
    named = set(re.findall(r"\bILORA_[A-Z]+(?:_[A-Z]+)*", " ".join(texts)))
    known = {*variables._READ, *variables._WRITTEN, *variables._OTHERS}
    assert named <= known


def test_a_look_that_fails_does_not_hide_the_others(monkeypatch):
    def broken():
        raise RuntimeError("boom")
        yield

    monkeypatch.setattr(machine, "devices", broken)
    found = list(examine.examine(network=False))
    assert any("boom" in one.found and one.state == "warning" for one in found)
    assert found[-1].name.startswith(("variables", "ILORA_"))


def look_at(*words: str) -> dict[str, dict[str, str]]:
    found = CliRunner().invoke(app, ["doctor", "--offline", "--json", *words])
    return {one["name"]: one for one in json.loads(found.output)}


def test_it_says_of_a_nodes_data_what_the_node_tells_nobody(tmp_path, run_config):
    """In the words of the node's own log, of which the server has counts alone."""
    folder = tmp_path / "ward"
    folder.mkdir()
    names = ("travel", "banking", "ward 7", None)
    rows = [{"text": f"row {i}", "domain": names[i % 4]} for i in range(20)]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = look_at("--data", str(folder), "--classes", "travel,banking")
    assert found["data files"]["found"] == f"{folder}: notes.jsonl"
    assert found["rows"]["found"] == "20, of which 2 are held out"
    assert "text, domain; text-columns = 'text'" in found["columns"]["found"]
    assert found["classes"]["found"] == "3: banking (5), travel (5), ward 7 (5)"
    assert "the class 'ward 7' is not one of" in found["strange class"]["found"]
    own = {"data-path": str(folder), "lora-rank": 2}
    with pytest.raises(DataError) as raised:
        Node.of(Context(1, 1, own, RecordDict(), run_config), ("a", "b")).facts()
    assert found["no class"] == found["no class"] | {
        "state": "problem", "found": str(raised.value),
    }  # fmt: skip
    words = ["--set", "text-columns=note", "--node-config", f"data-path='{folder}'"]
    assert "lora-rank = None: expected" in look_at(*words)["node config"]["found"]
    words[-1] += " lora-rank=4"
    assert "has the columns text, domain" in look_at(*words)["data"]["found"]


def test_it_names_images_that_cannot_be_read(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number in range(3):
            file = tmp_path / "train" / label / f"{number}.png"
            Image.new("RGB", (4, 4)).save(file)
    file.write_bytes(b"torn")
    (tmp_path / "classes").write_text("cat\ndog\n")
    words = ["--task", "image-classification", "--classes", str(tmp_path / "classes")]
    found = look_at("--data", str(tmp_path / "train"), *words)
    assert found["classes"]["found"] == "2: cat (3), dog (3)"
    assert f"({file}) cannot be read" in found["images"]["found"]
    assert "1 of 6 images" in found["images"]["found"]
