"""``ilora export --push``: against a small hub on this machine, and without one."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import huggingface_hub
import pytest

from tests.finished import ilora


class Hub(ThreadingHTTPServer):
    """Answers the calls of an upload as the hub does, and keeps what comes."""

    def __init__(self, **status: int) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.status = status
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/api/whoami"):
            self.answer("whoami", {"name": "me", "type": "user"})
        else:  # is there such a model?
            self.answer("there", {"id": "me/model", "siblings": []}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.path.rsplit("/", 1)[0].rsplit("/", 1)[-1]
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self.answer("create", {"url": f"{self.server.address}/me/model"})
        elif kind == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                {"path": path, "uploadMode": "regular", "shouldIgnore": False}
                for path in paths
            ]
            self.answer("preupload", {"files": modes})
        elif kind == "commit":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    content = base64.b64decode(value["content"])
                    self.server.files[value["path"]] = content
            self.answer(
                "commit",
                {
                    "commitUrl": f"{self.server.address}/me/model/commit/1",
                    "commitOid": "1" * 40,
                },
            )
        else:
            self.answer("other", {})

    def answer(self, what: str, content: object, status: int = 200) -> None:
        status = self.server.status.get(what, status)
        text = json.dumps(content if status < 400 else {"error": "no"}).encode()
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch):
    servers = []

    def start(token: str = "hf_" + "a" * 20, **status: int) -> Hub:
        server = Hub(**status)
        servers.append(server)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", token)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("public", [False, True])
def test_everything_is_uploaded_to_a_new_repository(made, tmp_path, hub, public):
    server, out = hub(), tmp_path / "adapter"
    words = ["--push", "me/model", *(["--public", "--json"] if public else [])]
    result = ilora("export", made["bert"].folder, "--out", out, *words)
    assert result.exit_code == 0, result.output
    address = f"{server.address}/me/model"
    assert address in result.output
    assert not public or json.loads(result.stdout)["pushed"] == address
    assert server.created["name"] == "model"
    assert server.created.get("private") is not public
    written = {p.name: p.read_bytes() for p in out.iterdir()}
    assert written == {n: v for n, v in server.files.items() if n != ".gitattributes"}
    assert {"adapter_model.safetensors", "README.md", "config.json"} <= set(written)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"whoami": 401}, "not logged in to the hub: hf auth login"),
        ({"there": 200}, "it exists, and an export never writes over another"),
        ({"whoami": 500}, "the hub answers 500"),
    ],
)
def test_what_is_known_before_the_work(made, tmp_path, hub, status, message):
    server, out = hub(**status), tmp_path / "adapter"
    result = ilora("export", made["bert"].folder, "--out", out, "--push", "me/model")
    assert result.exit_code == 2
    assert message in result.output
    assert "aaaa" not in result.output
    assert not out.exists()
    assert not server.files


def test_an_upload_that_fails_leaves_the_folder(made, tmp_path, hub):
    hub(create=403)
    out = tmp_path / "adapter"
    result = ilora("export", made["bert"].folder, "--out", out, "--push", "me/model")
    assert result.exit_code == 2
    assert "this login may not write there" in result.output
    assert f"hf upload me/model {out}" in " ".join(result.output.split())
    assert (out / "adapter_model.safetensors").exists()


def test_without_a_login_or_a_network(made, tmp_path, monkeypatch, hub):
    server, run, out = hub(), made["bert"].folder, tmp_path / "adapter"
    words = ["export", run, "--out", out, "--push", "me/model"]
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none")
    )
    assert "hf auth login" in ilora(*words).output
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 20)
    server.shutdown()
    server.server_close()
    result = ilora(*words)
    assert (result.exit_code, out.exists()) == (2, False)
    assert "the hub is not reached" in result.output
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in ilora(*words).output
