"""``ilora watch``: the report of a run over HTTP, for this machine alone."""

import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.report.live import LiveReport
from tests.report_folder import write

STARTED = {
    "event": "started", "run": 1, "rounds": 9, "pid": os.getpid(),
    "host": socket.gethostname(),
}  # fmt: skip


def get(server: LiveReport, path: str = "/", host: str = "", method: str = "GET"):
    link = http.client.HTTPConnection(*server.server_address, timeout=20)
    link.request(method, path, headers={"Host": host} if host else {})
    reply = link.getresponse()
    return reply.status, reply.read().decode(), reply.headers


@pytest.fixture
def live(tmp_path) -> Iterator[LiveReport]:
    """A run that goes on, with one round behind it."""
    rows = [{"round": 0, "accuracy": 0.1}, {"round": 1, "accuracy": 0.4321}]
    folder = write(tmp_path / "run", rows, [STARTED])
    with LiveReport(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_page_is_made_anew_when_there_is_a_round_more(live):
    status, text, headers = get(live)
    assert status == 200
    assert "Live: round 1 of 30 is over" in text
    assert "0.4321" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    _, before, _ = get(live, "/state")
    assert json.dumps(before) in text, "the page knows of which state it is"
    assert get(live, "/state")[1] == before, "nothing has changed"
    with (live.folder / "metrics.csv").open("a") as file:
        file.write("2,0.8765\n")
    assert get(live, "/state")[1] != before
    assert "0.8765" in get(live)[1]
    with (live.folder / "events.jsonl").open("a") as file:
        file.write('\n{"event": "finished", "time": 5}\n')
    assert json.loads(get(live, "/state")[1])[0] == "finished"
    assert "Live: round" not in get(live)[1]


def test_a_run_without_a_round_is_waited_for(live):
    (live.folder / "metrics.csv").unlink()
    status, text, _ = get(live)
    assert status == 200
    assert "no round is finished" in text
    assert 'fetch("/state")' in text


def test_a_run_that_is_removed_is_said_to_be_gone(live, capfd):
    assert get(live)[0] == 200
    shutil.rmtree(live.folder)
    assert json.loads(get(live, "/state")[1]) == ["gone"]
    status, text, _ = get(live)
    assert status == 200
    assert "is not there any more" in text
    assert 'fetch("/state")' in text, "it may be run anew"
    assert capfd.readouterr().err == ""


def test_a_look_does_not_read_what_it_does_not_need(live, monkeypatch):
    """Events of nodes are many, and a tab looks every three seconds."""
    lines = [json.dumps({"event": "payloads", "node": i}) for i in range(2000)]
    with (live.folder / "events.jsonl").open("a") as file:
        file.write("\n".join(["", *lines, '{"event": "finished", "time": 5}']) + "\n")
    read = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: (read.append(text), loads(text))[1])
    assert loads(live.state())[0] == "finished"
    assert len(read) == 2, "its beginning and its end"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil"]
)
def test_other_sites_are_refused(live, host):
    host = host.format(port=live.server_address[1])
    status, text, _ = get(live, host=host)
    assert status == 403
    assert "0.4321" not in text
    local = f"localhost:{live.server_address[1]}"
    assert get(live, host=local)[0] == 200


@pytest.mark.parametrize("path", ["/config.toml", "/../config.toml", "/state/x"])
def test_no_file_is_served(live, path):
    assert get(live, path)[0] == 404
    assert get(live, "/", method="POST")[0] == 501


def test_it_listens_on_this_machine_alone(live):
    assert live.socket.getsockname()[0] == "127.0.0.1"
    assert live.url == f"http://127.0.0.1:{live.server_address[1]}/"


def test_mistakes_are_said(tmp_path, live):
    words = ["watch", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "is not the folder of a run" in result.stderr
    taken = str(live.server_address[1])
    result = CliRunner().invoke(app, ["watch", str(live.folder), "--port", taken])
    assert result.exit_code == 2
    assert f"--port {taken}: " in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_ended(live, end):
    words = "from ilora_app.cli import app; app()", "watch", str(live.folder), "--json"
    with subprocess.Popen(
        [sys.executable, "-c", *words], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        said = json.loads(child.stdout.readline())
        assert said["run"] == str(live.folder)
        place = said["url"].removeprefix("http://").strip("/")
        link = http.client.HTTPConnection(place, timeout=30)
        link.request("GET", "/state")
        assert json.loads(link.getresponse().read())[0] == "running"
        link.close()
        child.send_signal(end)
        assert child.wait(20) == 0


def test_a_browser_that_goes_leaves_no_traceback(live, capfd):
    """SO_LINGER of 0: the connection is reset, while the server waits for a request."""
    for _ in range(3):
        with socket.create_connection(live.server_address) as link:
            link.sendall(b"GET / HTTP/1.1\r\n")
            no_wait = struct.pack("ii", 1, 0)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_wait)
    assert get(live)[0] == 200
    assert "Traceback" not in capfd.readouterr().err
    try:
        raise ValueError("another")
    except ValueError:
        live.handle_error(None, ("127.0.0.1", 1))
    assert "ValueError: another" in capfd.readouterr().err
