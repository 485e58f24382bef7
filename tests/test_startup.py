"""What commands import before they answer: no times, as those hang on the machine."""

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "flwr", "ray", "datasets", "matplotlib", "pandas"}
HEAVY |= {"numpy", "peft", "pyarrow"}


@pytest.mark.parametrize("words", [["--help"], ["runs"], ["runs", "list"]])
def test_a_command_that_only_reads_imports_nothing_heavy(tmp_path, words):
    code = "import sys; from ilora_app.cli import app\ntry:\n    app()\nfinally:\n"
    code += "    print('modules:', *sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "ILORA_RUNS": str(tmp_path)},
        check=False,
    )
    assert "Usage" in done.stdout + done.stderr or "no runs" in done.stdout
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    assert not loaded & HEAVY
    ours = [name for name in done.stderr.split() if name.startswith("ilora_app.")]
    if words[-1] != "list":
        assert all(name.startswith("ilora_app.cli") for name in ours)
        assert "rich" not in loaded
