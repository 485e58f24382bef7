"""A run in Flower's simulation engine that is killed, and goes on in another."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pandas
import pytest

from ilora_app.launch.superlink import PID
from ilora_app.runs import processes
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.superlink import SuperLink, superlink
from tests.test_simulation import overrides

pytestmark = [pytest.mark.slow, pytest.mark.long]

FEDERATION = "num-supernodes=3 client-resources-num-cpus=1 init-args-num-cpus=2"


def kill_all(pid: int) -> None:
    """End a process and all below it at once, as a power cut does."""
    for process in (pid, *processes.descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def run_until(link: SuperLink, wanted: dict, folder: Path, rounds: int) -> None:
    """Start a run, and kill the SuperLink and all of its processes in mid-round."""
    thread = threading.Thread(target=link.run, args=(wanted, FEDERATION, 300))
    thread.start()
    last = folder / "checkpoints" / f"round-{rounds}"
    end = time.monotonic() + 240
    while not last.exists() and time.monotonic() < end:
        time.sleep(0.05)
    kill_all(int((link.link.home / PID).read_text()))
    thread.join()
    assert last.exists()
    assert not (folder / "adapter").exists(), "it was over before it was killed"


def test_a_killed_run_goes_on_with_latest(run_config, tmp_path, monkeypatch):
    """All that is left is on the disk; the numbers are those of an unbroken run.

    Under fedsa-lora a client keeps factors and a control variate of its own.
    """
    run_config |= {
        "strategy": "fedsa-lora", "drift-correction": "control-variates",
        "num-server-rounds": 6, "local-steps": 5,
    }  # fmt: skip
    whole, _, _ = run(run_config)
    monkeypatch.setenv("ILORA_STATE", str(tmp_path / "nodes"))
    folder = tmp_path / "killed"
    wanted = overrides(run_config, folder)
    with superlink(tmp_path / "first") as link:
        run_until(link, wanted, folder, rounds=2)
    with superlink(tmp_path / "second") as link:
        log = link.run(wanted | {"resume": "latest"}, FEDERATION, timeout=300)
        assert link.statuses() == ["finished:completed"], log
    (event,) = read_events(folder, "resumed")
    assert 2 <= event["after_round"] < 6
    assert f"Going on after round {event['after_round']}" in log
    assert not read_events(folder, "reply-left-out")
    pandas.testing.assert_frame_equal(metrics(whole), metrics(folder), check_exact=True)
