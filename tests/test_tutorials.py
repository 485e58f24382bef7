"""The commands of the tutorials, typed as they stand in an empty folder."""

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.own_processes import environment, listens, wait

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.long


def commands(tutorial: str, first: str = "", behind: str = "") -> str:
    """Blocks of a tutorial that a shell is to run, from one heading to another."""
    text = (ROOT / f"docs/tutorials/{tutorial}.md").read_text()
    text = text[text.index(first) :]
    return "\n".join(BLOCK.findall(text[: text.index(behind) if behind else None]))


def typed(folder: Path, lines: str, patience: float = 1200) -> tuple[int, str]:
    """Run commands in one shell: its exit code, and what they print."""
    home = environment(folder / "home") | {
        "CLONE": str(ROOT),
        "ILORA_RUNS": str(folder / "runs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    shell = subprocess.Popen(
        ["bash", "-c", "set -eu\n" + lines],
        cwd=folder,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # What is left running would hold the pipe open.
        text = shell.communicate(timeout=patience)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    return shell.returncode, text


def test_own_data(tmp_path):
    code, text = typed(tmp_path, commands("own-data"))
    assert code == 0, text
    assert "linear probe of the frozen model (1280 rows)" in text
    assert re.search(r"round 4/4  accuracy 0\.9[3-9]", text), text
    assert re.search(r"someone stole my visa\n  report_lost_card +0\.", text), text


def test_three_hospitals(tmp_path):
    code, text = typed(tmp_path, commands("three-hospitals"))
    assert code == 0, text
    assert "Federation: 3 members of ranks" in text
    assert text.count("clients 3/3") == 3
    assert re.search(r"travel +(0\.9|1\.0)", text), text
    wait(lambda: not listens(9091), 60, "the SuperLink's end", lambda: text)
    own = subprocess.run(
        ["pgrep", "-fc", str(tmp_path)], capture_output=True, text=True
    )
    assert int(own.stdout) == 0, "processes are left of the tutorial"


def test_the_hospitals_wait_for_no_superlink_that_cannot_start(tmp_path):
    """Its port is taken: the end of its log is shown, and the loop is left."""
    (tmp_path / "server").mkdir()
    lines = commands("three-hospitals", "## Keys", "## The hospitals")
    with socket.create_server(("127.0.0.1", 9091)):
        code, text = typed(tmp_path, lines, patience=120)
    assert code != 0  # of what is registered next
    assert "9091" in text, text
    assert "in use" in text or "bind" in text, text
