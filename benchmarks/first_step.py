"""From ``flwr run`` to the first reply of a training step, beside an empty Flower app.

    python -m benchmarks.first_step [--turns 3] [--json DIR]

Flower's Ray engine starts two nodes for both. The empty app answers a message without
anything; ours loads model, tokenizer and data on the server and on the nodes, meets
the nodes, evaluates the model as it starts, and has every node train one step. With a
head that is solved, the default, the nodes also pass all of their examples through the
model before round 1: a row of its own. Each row has the best of its turns.
"""

import argparse
import json
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, report
from benchmarks.simulation import run
from ilora_app.launch.app_files import copy_app
from ilora_app.launch.superlink import superlink

NODES, ABOVE = 2, "<= 8"
EMPTY = Path(__file__).parent / "empty"
JOB = {"num-server-rounds": 1, "local-steps": 1, "report": False}
HEADS = ("trained", "auto")
PARTS = ("app starts", "nodes are met", "before round 1", "first reply")


def empty(link: Any, folder: Path) -> float:
    """Seconds to the first reply of an app that does nothing."""
    shutil.copytree(EMPTY, folder / "empty")
    times = folder / "first-reply"
    config = {"nodes": NODES, "first-reply": str(times)}
    began = run(link, folder / "empty", config, NODES)
    return float(times.read_text()) - began


def ours(link: Any, folder: Path, head: str) -> list[float]:
    """Seconds to where each of the parts ends, the last one the first reply."""
    copy_app(folder / "app", {})
    began = run(
        link,
        folder / "app",
        {**JOB, "head": head, "output-dir": str(folder / "run")},
        NODES,
    )
    lines = (folder / "run" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]

    def first(event: str, **values: Any) -> float:
        wanted = {"event": event, **values}.items()
        return next(float(e["time"]) for e in events if wanted <= e.items())

    of = {"round": 1, "purpose": "train"}
    ends = first("started"), first("member"), first("asked", **of)
    return [end - began for end in (*ends, first("replied", **of))]


def main() -> None:
    """Print a row for each head, and where its time goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    nothing: list[float] = []
    found: dict[str, list[list[float]]] = {head: [] for head in HEADS}
    with tempfile.TemporaryDirectory() as place, superlink(Path(place, "home")) as link:
        for turn in range(given.turns):
            nothing.append(empty(link, _made(place, f"empty-{turn}")))
            for head in HEADS:
                folder = _made(place, f"{head}-{turn}")
                found[head].append(ours(link, folder, head))
    least = min(nothing)
    rows = [Row("an empty app: seconds to its replies", f"{least:.1f}")]
    for head, turns in found.items():
        best = min(turns, key=lambda ends: ends[-1])
        spent = [b - a for a, b in pairwise([0.0, *best])]
        of = ", ".join(f"{n} {s:.1f}" for n, s in zip(PARTS, spent, strict=True))
        above = best[-1] - least
        rows.append(
            Row(
                f"one step, head {head}: seconds to the first reply ({of})",
                f"{best[-1]:.1f}",
                f"seconds above the empty app ({least:.1f})",
                above,
                ABOVE if head == "trained" else "",
            )
        )
    report("first_step", rows, given.json)


def _made(place: str, name: str) -> Path:
    folder = Path(place) / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
