"""The commands of the tutorials, typed as they stand in an empty folder."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.own_processes import environment, listens, wait

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.long


def commands(tutorial: str) -> str:
    """All blocks of a tutorial that a shell is to run."""
    return "\n".join(
        BLOCK.findall((ROOT / f"docs/tutorials/{tutorial}.md").read_text())
    )


def typed(tutorial: str, folder: Path) -> str:
    """Run them in one shell; what they print."""
    home = environment(folder / "home") | {
        "CLONE": str(ROOT),
        "ILORA_RUNS": str(folder / "runs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    shell = subprocess.Popen(
        ["bash", "-c", "set -eu\n" + commands(tutorial)],
        cwd=folder,
        env=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        # What is left running would hold the pipe open.
        text = shell.communicate(timeout=1200)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, text
    return text


def test_own_data(tmp_path):
    text = typed("own-data", tmp_path)
    assert "linear probe of the frozen model (1280 rows)" in text
    assert re.search(r"round 4/4  accuracy 0\.9[3-9]", text), text
    assert re.search(r"someone stole my visa\n  report_lost_card +0\.", text), text


def test_three_hospitals(tmp_path):
    text = typed("three-hospitals", tmp_path)
    assert "Federation: 3 members of ranks" in text
    assert text.count("clients 3/3") == 3
    assert re.search(r"travel +(0\.9|1\.0)", text), text
    wait(lambda: not listens(9091), 60, "the SuperLink's end", lambda: text)
    own = subprocess.run(
        ["pgrep", "-fc", str(tmp_path)], capture_output=True, text=True
    )
    assert int(own.stdout) == 0, "processes are left of the tutorial"
