"""What libraries say as they are imported is not what a command says."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_commands_say_what_they_say_and_nothing_else(tmp_path):
    words = ["predict", str(tmp_path), "a text"]
    command = [
        sys.executable,
        "-P",
        "-c",
        "from ilora_app.cli import app; app()",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "expected an exported folder" in done.stderr
