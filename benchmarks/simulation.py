"""Flower's simulation engine beside a bare PEFT loop, and beside a common pattern.

    python -m benchmarks.simulation [--clients 100] [--rounds 2] [--json DIR]

The default job, with so many clients, in Flower's Ray engine on two actors. Beside it
the same steps and evaluations in a loop over PEFT alone, in two processes of one
thread, and a Flower app that loads model, tokenizer and data in every message, as
examples do. All after start-up, whose time is a row of its own. Run it on a quiet
machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, report
from ilora_app.launch.app_files import copy_app
from ilora_app.launch.paths import ROOT
from ilora_app.launch.superlink import superlink

PROCESSES, STEPS = 2, 10
APP = Path(__file__).parent / "reloading"


def job(clients: int, rounds: int) -> dict[str, Any]:
    """The run config, over the defaults."""
    return {
        "num-server-rounds": rounds,
        "local-steps": STEPS,
        "min-available-nodes": clients,
        "min-partition-size": 10,
        "report": False,
        "keep-checkpoints": 0,
        "head-refit-every": 0,
    }


def written(config: dict[str, Any]) -> str:
    """As Flower takes it on its command line."""
    texts = {k: f"'{v}'" if isinstance(v, str) else v for k, v in config.items()}
    return " ".join(f"{k}={str(v).lower()}" for k, v in texts.items())


def run(link: Any, app: Path, config: dict[str, Any], clients: int) -> float:
    """Run an app in the simulation engine; returns when it was started."""
    federation = f"num-supernodes={clients} client-resources-num-cpus=1"
    log, began = app.with_suffix(".log"), time.time()
    number = link.run(app, written(config), federation, log)
    if link.statuses().get(number) != "finished:completed":
        raise SystemExit(log.read_text(errors="replace")[-3000:])
    return began


def ours(link: Any, folder: Path, clients: int, rounds: int) -> tuple[float, float]:
    """Seconds of all rounds, and seconds before the first."""
    copy_app(folder / "app", {})
    config = job(clients, rounds) | {"output-dir": str(folder / "run")}
    began = run(link, folder / "app", config, clients)
    lines = (folder / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    ended = [e["time"] for e in events if e["event"] == "round"]
    first = next(e["time"] for e in events if e["event"] == "asked" and e["round"] == 1)
    return ended[-1] - first, first - began


def bare(clients: int, rounds: int) -> float:
    """Seconds of the loop: of the slower of its processes."""
    words = [sys.executable, "-m", "benchmarks.bare_loop"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    given = json.dumps(job(clients, rounds))
    started = [
        subprocess.Popen(
            [*words, given, str(clients), str(k), str(PROCESSES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for k in range(PROCESSES)
    ]
    for process in started:  # all have loaded and encoded before one begins
        assert process.stdout
        process.stdout.readline()
    found = [float(process.communicate("go\n")[0]) for process in started]
    return max(found)


def reloading(link: Any, folder: Path, clients: int, rounds: int) -> float:
    """Seconds of the rounds of the app that loads all in every message."""
    from ilora_app.settings import Settings
    from ilora_app.tasks.models import locate

    app = folder / "reloading"
    shutil.copytree(APP, app)
    config = {
        "model": locate(Settings().model.model)[0],
        "data": str(ROOT / "ilora_app" / "data" / "clinc150"),
        "partitions": clients,
        "rounds": rounds,
        "steps": STEPS,
        "times": str(folder / "times"),
    }
    run(link, app, config, clients)
    times = [float(line) for line in (folder / "times").read_text().split()]
    return times[-1] - times[0]


def main() -> None:
    """Print a row for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--reloading-clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    clients, rounds, few = given.clients, given.rounds, given.reloading_clients
    steps = clients * rounds * STEPS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with superlink(folder / "home") as link:
            seconds, start = ours(link, folder, clients, rounds)
            slow = reloading(link, folder, few, 1)
        loop = bare(clients, rounds)
    each, every = 60 * clients * rounds / seconds, 60 * few / slow
    rows = [
        Row(
            f"{clients} clients, {rounds} rounds: steps/s after start-up",
            f"{steps / seconds:.2f}",
            f"bare PEFT loop in {PROCESSES} processes {steps / loop:.2f}",
            loop / seconds,
            ">= 0.9",
        ),
        Row(
            "the same job from round 1 to its end: seconds",
            f"{seconds:.1f}",
            f"the loop {loop:.1f}",
            seconds / loop,
            "<= 1.25",
        ),
        Row("the same job: seconds before round 1", f"{start:.1f}"),
        Row(
            "client-rounds a minute",
            f"{each:.1f}",
            f"model loaded in every message {every:.1f} ({few} clients)",
            each / every,
            ">= 5",
        ),
    ]
    report("simulation", rows, given.json)


if __name__ == "__main__":
    main()
