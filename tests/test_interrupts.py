"""What stops a run: each signal once, and a terminal that is closed."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ilora_app.cli.interrupts import interruptible

# Waits; once stopped it says so, is asked to stop again, and writes a file at last.
SCRIPT = """
import os, sys, time
from pathlib import Path
from ilora_app.cli.interrupts import exit_code, interruptible

try:
    with interruptible():
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("stopping", flush=True)
            os.kill(os.getpid(), int(sys.argv[2]))
            Path(sys.argv[1]).write_text("cleaned up")
except KeyboardInterrupt as stopped:
    sys.exit(exit_code(stopped))
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(file: Path, number: int, **more) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SCRIPT, file, str(number)], **more
    )


@pytest.mark.usefixtures("heeds_hangups")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_once_and_the_clean_up_runs(tmp_path, number):
    with start(tmp_path / "f", number, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert (tmp_path / "f").read_text() == "cleaned up"


@pytest.mark.usefixtures("heeds_hangups")
def test_a_closed_terminal_stops_too_and_what_is_said_then_harms_nothing(tmp_path):
    child, master = pty.fork()
    if child == 0:
        words = [
            sys.executable,
            "-P",
            "-c",
            SCRIPT,
            str(tmp_path / "f"),
            str(signal.SIGHUP),
        ]
        os.execv(sys.executable, words)
    assert b"ready" in os.read(master, 100)
    os.close(master)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert (tmp_path / "f").read_text() == "cleaned up"


def test_handlers_are_put_back_and_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    own = signal.getsignal(signal.SIGTERM)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != own
        assert signal.getsignal(signal.SIGTERM) == own
    finally:
        signal.signal(signal.SIGHUP, before)
