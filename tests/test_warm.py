"""``flwr-clientapp`` forked from a process with its libraries loaded, for real."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilora_app.deploy import warm
from ilora_app.runs import processes
from tests.own_processes import BIN, environment, free_port, wait

pytestmark = pytest.mark.slow
REAL = str(BIN / warm.COMMAND)
STARTER = f"""
import sys, time
from ilora_app.deploy import warm
print(warm.begin({REAL!r}), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def starter(tmp_path_factory) -> Iterator[tuple[Path, subprocess.Popen]]:
    """A folder with the command, and the process that its parent ends with."""
    home = tmp_path_factory.mktemp("node")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    words = [sys.executable, "-c", STARTER]
    with subprocess.Popen(words, env=environment(home), cwd=home, **pipes) as started:
        folder = Path(started.stdout.readline().strip())
        wait((folder / "socket").exists, 30, "the parent", str)
        # While it loads its libraries, some of them start processes of their own.
        with asked(folder, "--help") as found:
            found.communicate(timeout=120)
        yield folder, started
        started.stdin.close()


def asked(folder: Path, *words: object, **more) -> subprocess.Popen:
    command = [folder / warm.COMMAND, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **more)


def parent_of(started: subprocess.Popen) -> int:
    return processes.descendants(started.pid)[0]  # children before their children


def forks(started: subprocess.Popen) -> list[int]:
    """Processes that the parent has forked, without what those start for a moment."""
    parent = parent_of(started)
    return [pid for pid, above in processes._parents() if above == parent]


def test_it_says_what_the_command_says_and_ends_as_it_does(starter, tmp_path):
    folder, _ = starter
    for words, code in ((["--help"], 0), (["--nonsense"], 2)):
        real = subprocess.run([REAL, *words], capture_output=True, text=True)
        found = asked(folder, *words, cwd=tmp_path, env=dict(os.environ) | {"A": "b"})
        out, errors = found.communicate(timeout=120)
        assert (found.returncode, real.returncode) == (code, code)
        assert (out, errors) == (real.stdout, real.stderr)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_who_ends_the_one_ends_the_other(starter, how):
    """It asks a SuperNode that is not there, again and again."""
    folder, started = starter
    nowhere = f"127.0.0.1:{free_port()}"
    words = ("--insecure", "--token", "t", "--runtime-api-address", nowhere)
    with asked(folder, *words) as found:
        try:
            wait(lambda: len(forks(started)) == 1, 60, "a fork", str)
            [pid] = forks(started)
            time.sleep(0.5)
            found.send_signal(how)
            found.communicate(timeout=60)
        finally:  # what goes on would be in the way of the other tests
            found.kill()
    wait(lambda: not processes.alive(pid), 60, "its end", str)


def test_without_a_parent_the_command_runs_as_ever(tmp_path):
    folder = tmp_path / "gone"
    found = subprocess.run(
        [sys.executable, "-IS", warm._ASK, folder, REAL, "--nonsense"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "--token" in found.stderr


def test_a_service_finds_flowers_programs_without_its_path(tmp_path):
    """A unit of systemd has a PATH of its own; they lie beside Python."""
    found = subprocess.run(
        [BIN / "ilora", "supernode", "--nonsense"],
        env={**environment(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "flower-supernode: error: unrecognized arguments: --nonsense" in found.stderr


def test_a_parent_that_is_asked_to_end_leaves_no_folder(tmp_path):
    """As ``systemctl stop`` asks all processes of a unit."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    words = [sys.executable, "-c", STARTER]
    with subprocess.Popen(words, env=environment(tmp_path), **pipes) as started:
        folder = Path(started.stdout.readline().strip())
        wait((folder / "socket").exists, 30, "the parent", str)
        parent = parent_of(started)
        os.kill(parent, signal.SIGTERM)
        wait(lambda: not processes.alive(parent), 30, "its end", str)
        assert not folder.exists()
        started.stdin.close()


def test_the_parent_ends_with_who_started_it(starter):
    folder, started = starter
    parent = parent_of(started)
    assert folder.stat().st_mode & 0o777 == 0o700
    started.stdin.close()
    started.wait(30)
    wait(lambda: not processes.alive(parent), 30, "its end", str)
    assert not folder.exists()
