"""``ilora run`` as a process: real runs that finish, fail and are stopped."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ilora_app.launch.superlink import BIN, superlink
from ilora_app.runs import history, processes
from ilora_app.runs.checkpoint import Checkpoints
from ilora_app.settings import Settings, parsing
from tests.conftest import read_events
from tests.own_processes import wait


@pytest.fixture
def words(run_config, tmp_path) -> list[str]:
    """The words of a tiny run."""
    defaults = parsing.dump(Settings())
    changed = {k: v for k, v in run_config.items() if v != defaults[k]}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in changed.items()}
    return ["--clients", "3", *(f"--set={k}={v}" for k, v in texts.items())]


@pytest.fixture
def temporary():
    """A folder for temporary files, with a short name: Ray has sockets in it."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as place:
        yield Path(place)


def start(
    words: list[str], temporary: Path, name: str = "run", **env: str
) -> subprocess.Popen[str]:
    """A command in a process, with all of its temporary files in a folder."""
    environment = os.environ | {"TMPDIR": str(temporary), "COLUMNS": "80"} | env
    return subprocess.Popen(
        [BIN / "ilora", name, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_nothing_is_left(temporary: Path) -> None:
    lines = map(processes.command, processes.running())
    assert not [line for line in lines if str(temporary) in line]
    assert not list(temporary.glob("ilora-run-*"))


@pytest.mark.slow
def test_a_real_run_shows_its_rounds_and_ends_with_json(words, tmp_path, temporary):
    with start([*words, "--json"], temporary) as command:
        out, err = command.communicate(timeout=600)
    assert command.returncode == 0, err
    (line,) = out.splitlines()
    found = json.loads(line)
    folder = Path(found["folder"])
    assert folder == tmp_path / "run"
    assert found["status"] == "finished"
    rounds = read_events(folder, "round")
    assert found["metrics"]["accuracy"] == rounds[-1]["accuracy"]
    assert found["best"]["round"] in (0, 1, 2)
    lines = re.findall(r"^round (\d)/2  accuracy 0\.\d{4}  loss .*$", err, re.M)
    assert lines == ["0", "1", "2"]
    assert "\x1b" not in out + err
    log = (folder / "flwr.log").read_text()
    assert "round 2/2" in log
    assert "@ilora-event" not in log, "events.jsonl has them"
    assert len(re.findall("^run folder: ", err, re.M)) == 1
    replies = [e["clients"] for e in read_events(folder, "replied") if e["round"] == 1]
    assert replies.count(3) == 2, "of training and of evaluation"
    assert_nothing_is_left(temporary)


@pytest.mark.slow
def test_a_request_to_end_stops_all_that_was_started(words, tmp_path, temporary):
    """As Ctrl-C does; what a closed terminal does is in ``test_interrupts``."""
    folder = tmp_path / "run"
    with start([*words, "--rounds", "500"], temporary) as command:
        wait_for(command, "round 1/500")
        command.send_signal(signal.SIGTERM)
        _, err = command.communicate(timeout=300)
    assert command.returncode == 143, err
    assert f"stopped; run folder: {folder}; --resume {folder} goes on" in err
    assert history.read(folder, tmp_path).status == history.STOPPED
    assert Checkpoints(folder).load().round >= 1
    assert_nothing_is_left(temporary)


@pytest.mark.slow
def test_a_request_to_end_stops_the_workers_of_a_comparison(words, tmp_path, temporary):
    kept = [word for word in words if "output-dir" not in word]
    kept = ["--engine=local", "--workers=2", "--strategies=fedit,flora", *kept]
    kept += ["--out", str(tmp_path / "all"), "--set=num-server-rounds=500"]
    with start(kept, temporary, "compare") as command:
        begun = "all/runs/**/metrics.csv"
        wait_until(lambda: len(list(tmp_path.glob(begun))) == 2, command)
        below = processes.descendants(command.pid)
        command.send_signal(signal.SIGTERM)
        out, err = command.communicate(timeout=60)
    assert command.returncode == 143, out + err
    assert "stopped; the same command goes on from here" in out
    assert len(below) >= 2
    wait(lambda: not any(map(processes.alive, below)), 30, "their end", str)
    runs = history.listed(tmp_path / "all")
    assert {run.status for run in runs} == {history.STOPPED}


@pytest.mark.long
def test_a_superlink_that_is_there_goes_on_after_failure_and_ctrl_c(
    words, tmp_path, temporary
):
    with superlink(tmp_path / "flower") as link:
        words += ["--superlink", link.connection]
        env = {"FLWR_HOME": str(link.home)}
        with start([*words, "--ranks", "999"], temporary, **env) as command:
            _, err = command.communicate(timeout=600)
        assert command.returncode == 1, err
        assert "client-ranks = 999: expected ranks up to 32" in err
        with start([*words, "--rounds", "500"], temporary, **env) as command:
            wait_for(command, "run folder: ")
            command.send_signal(signal.SIGINT)
            _, err = command.communicate(timeout=300)
        assert command.returncode == 130, err
        assert sorted(link.statuses().values()) == [
            "finished:failed",
            "finished:stopped",
        ]
    assert_nothing_is_left(temporary)


def wait_until(there: Callable[[], bool], command: subprocess.Popen[str]) -> None:
    """Wait until something is there, as long as the command runs."""
    end = time.monotonic() + 120
    while not there():
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(command: subprocess.Popen[str], beginning: str) -> None:
    """Read what the command says until a line begins so."""
    said = []
    for line in command.stdout or ():
        said.append(line)
        if line.startswith(beginning):
            return
    raise AssertionError("".join(said) + command.communicate()[1])
