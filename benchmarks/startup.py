"""How long commands take to start, beside importing torch and transformers.

    python -m benchmarks.startup [--json DIR] [--turns 5]

The commands and what they are held against take turns; each row has the best of its
turns, beside the load of the machine, as on a busy one all times are longer. ``ilora
predict`` says the class of a text, with a run of the default model that was made
before; the rows below it are the parts of the libraries that every prediction with an
adapter needs.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rows import Row, report
from ilora_app.compare.worker import execute

_LIBRARIES = "import torch, transformers"
BASE = f"python -c '{_LIBRARIES}'"
SECONDS = "<= 0.3"


def trained(folder: Path) -> Path:
    """A run folder to predict with; what it has learned does not matter."""
    short = {"num-server-rounds": 1, "local-steps": 1, "test-examples": 10}
    with contextlib.redirect_stdout(sys.stderr):
        execute({**short, "report": False, "output-dir": str(folder)}, clients=2)
    return folder


def commands(run: Path) -> dict[str, list[str]]:
    """What is started, by its name."""
    ilora = shutil.which("ilora") or "ilora"
    model = "from transformers import BertForSequenceClassification"
    return {
        BASE: [sys.executable, "-c", _LIBRARIES],
        "python -c pass": [sys.executable, "-c", "pass"],
        "ilora --help": [ilora, "--help"],
        "ilora runs": [ilora, "runs"],
        "ilora runs list": [ilora, "runs", "list"],
        "ilora predict": [ilora, "predict", str(run), "what is my balance"],
        "a model class of transformers": [sys.executable, "-c", model],
        "PEFT": [sys.executable, "-c", "from peft import PeftModel"],
    }


def seconds(command: list[str], home: str) -> float:
    """Time a command from its start to its end."""
    environment = {**os.environ, "ILORA_RUNS": home}
    clock = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False, env=environment)
    return time.perf_counter() - clock


def main() -> None:
    """Print a row a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = commands(trained(Path(folder, "run")))
        subprocess.run(found["ilora predict"], check=True)
        best = dict.fromkeys(found, float("inf"))
        for _ in range(given.turns):
            for name, command in found.items():
                best[name] = min(best[name], seconds(command, folder))
    load = f"{os.getloadavg()[1]:.1f}, with {os.cpu_count()} threads"
    rows = [Row("load of the machine over five minutes", load)]
    rows.append(Row("python -c pass", f"{best['python -c pass']:.2f} s"))
    for name in ("ilora --help", "ilora runs", "ilora runs list"):
        rows.append(Row(name, f"{best[name]:.2f} s", "1 s", best[name], SECONDS))
    for name in ("ilora predict", "a model class of transformers", "PEFT"):
        target = "<= 1.3" if name == "ilora predict" else ""
        against = f"{best[BASE]:.2f} s ({BASE})"
        ratio = best[name] / best[BASE]
        rows.append(Row(name, f"{best[name]:.2f} s", against, ratio, target))
    report("startup", rows, given.json)


if __name__ == "__main__":
    main()
