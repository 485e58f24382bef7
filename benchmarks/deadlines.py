"""Time to an accuracy with nodes of unequal speed: a deadline, or waiting for all.

    python -m benchmarks.deadlines --out FILE [--seeds 0] [--rounds 8]

CLINC150's 150 intents, as packaged (1,000 rows of the validation split), 8 clients of
rank 8, Dirichlet 0.1, head solved before round 1 and every fourth round. Simulated
speeds of 10, 20, 40 and 80 ms an example, twice each: the time is that of the local
training of the slowest node of a round, and not of this machine.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas

from benchmarks.switches import run_one

STEPS, BATCH, SPEEDS = 8, 16, (0.01, 0.02, 0.04, 0.08)
COMMON: dict[str, Any] = {
    "label-column": "intent",
    "test-split": "validation",
    "test-examples": 1000,
    "dirichlet-alpha": 0.1,
    "max-length": 32,
    "client-ranks": "8",
    "head-refit-every": 4,
    "local-steps": STEPS,
    "batch-size": BATCH,
    "fraction-evaluate": 0.0,
    "save-adapters": False,
    "report": False,
    "keep-checkpoints": 0,
    "simulated-speeds": ",".join(map(str, SPEEDS)),
}
# All of them wait for nobody longer than this; the first waits for the slowest.
DEADLINES = {
    "waiting for all": 1e9,
    "deadline of the second slowest": STEPS * BATCH * SPEEDS[2] / 0.9,
    "deadline of the second fastest": STEPS * BATCH * SPEEDS[1] / 0.9,
}


def times(name: str, seed: int, rounds: int) -> dict[str, Any]:
    """Run one job; simulated seconds so far and accuracy, by round."""
    with tempfile.TemporaryDirectory() as folder:
        config = {**COMMON, "round-deadline": DEADLINES[name]}
        config |= {"num-server-rounds": rounds}
        run_one(name, "intents", seed, config, Path(folder))
        table = pandas.read_csv(Path(folder) / "run" / "metrics.csv")
    spent = table["seconds_client_longest"].fillna(0.0).cumsum()
    return {
        "name": name,
        "seed": seed,
        "seconds": [round(value, 2) for value in spent],
        "accuracy": [round(value, 4) for value in table["accuracy"]],
    }


def until(row: dict[str, Any], target: float) -> float | None:
    """Seconds until a run first had this accuracy."""
    pairs = zip(row["seconds"], row["accuracy"], strict=True)
    return next((t for t, accuracy in pairs if accuracy >= target), None)


def main() -> None:
    """Run all, and print the time of each to the accuracy that waiting ends with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    rows = []
    for seed in map(int, options.seeds.split(",")):
        for name in DEADLINES:
            rows.append(times(name, seed, options.rounds))
            options.out.write_text(json.dumps(rows, indent=1) + "\n")
        first = next(row for row in rows if row["seed"] == seed)
        target = max(first["accuracy"]) - 0.01
        for row in rows:
            if row["seed"] == seed:
                found, last = until(row, target), row["accuracy"][-1]
                print(
                    f"seed {seed}  {row['name']:32} {row['seconds'][-1]:7.0f} s  "
                    f"accuracy {last:.3f}  to {target:.3f}: "
                    + (f"{found:.0f} s" if found is not None else "not reached")
                )


if __name__ == "__main__":
    main()
