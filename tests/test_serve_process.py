"""``ilora serve`` as a process of its own: where it listens, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.finished import ilora, objects


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


NO_IPV6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
CODE = "from ilora_app.cli import app; app()"


@contextmanager
def served(*words: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """Its address and its process."""
    command = [sys.executable, "-c", CODE, "serve", *map(str, words), "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*command, "--port", "0"], text=True, **pipes)
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield json.loads(line)["url"], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "host", "shown"),
    [
        (signal.SIGINT, "127.0.0.1", "127.0.0.1"),
        (signal.SIGTERM, "0.0.0.0", "127.0.0.1"),
        pytest.param(signal.SIGTERM, "::1", "[::1]", marks=NO_IPV6),
    ],
)
def test_it_answers_and_ends_when_asked(made, number, host, shown):
    folder = made["bert"].folder
    with served(folder, "--host", host) as (url, process):
        assert url.startswith(f"http://{shown}:")
        with httpx.Client(timeout=60) as kept:  # a connection that is left open
            body = {"inputs": ["what is my balance"]}
            said = kept.post(f"{url}/predict", json=body)
            assert said.status_code == 200
            (one,) = said.json()["answers"]
            (other,) = objects(ilora("predict", folder, *body["inputs"], "--json"))
            labels = [[a["label"] for a in found["labels"]] for found in (one, other)]
            assert labels[0] == labels[1]
            taken = ("--host", host, "--port", url.rpartition(":")[2])
            busy = ilora("serve", folder, *taken)
            assert busy.exit_code == 2
            assert "it cannot be listened on" in busy.output
            started = time.monotonic()
            process.send_signal(number)
            assert process.wait(30) == 0
            assert time.monotonic() - started < 20
        error = process.stderr.read()
        assert ("there is no TLS and no password" in error) == (host == "0.0.0.0")
        assert "Traceback" not in error


def test_what_cannot_be_served(made, tmp_path):
    run = made["bert"].folder
    result = ilora("serve", run, "--port", 0, "--host", "no.such.host.invalid")
    assert result.exit_code == 2
    assert "expected an address of this machine and a free port" in result.output
    result = ilora("serve", tmp_path, "--port", 0)
    assert result.exit_code == 2
    assert "expected an exported folder" in result.output


SLOW = """
import sys, time
from ilora_app.predict.predictor import Predictor
from ilora_app.serve import server
from ilora_app.serve.app import make
from ilora_app.serve.asked import Limits
def predict(*_):
    print("at work", flush=True)
    time.sleep(60)
Predictor.predict = predict
import socket
taken = socket.socket(); taken.bind(("127.0.0.1", 0)); taken.listen()
print(taken.getsockname()[1], flush=True)
server.run(make(Predictor(sys.argv[1]), "a model", Limits(), ("127.0.0.1",)), taken)
"""


@pytest.mark.slow
def test_it_ends_though_the_model_is_at_work_and_requests_wait(made):
    words = [sys.executable, "-c", SLOW, str(made["bert"].folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        port = int(process.stdout.readline())
        url = f"http://127.0.0.1:{port}"

        def ask() -> None:
            with suppress(httpx.HTTPError):
                httpx.post(f"{url}/predict", json={"inputs": ["a"]}, timeout=90)

        for _ in range(2):
            threading.Thread(target=ask, daemon=True).start()
        assert process.stdout.readline() == "at work\n"
        time.sleep(1)  # the other one waits
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors
