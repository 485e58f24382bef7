"""Accuracy under differential privacy: noise where it hurts least.

    python -m benchmarks.private --data DATA --out DIR [--tasks clinc150,banking77]
        [--rows ilora,...] [--levels 1,2,4,8,none] [--seeds 5] [--minutes 60]
        [--workers 1] [--unit client]

Unit client: 200 clients of 25 examples each, ranks 2, 4, 8 and 16, all asked in each of
eight rounds, delta 0.001, heads trained (a solved one is refused: its sums are in no
account). z is 8.2, 4.5, 2.6 and 1.5 at epsilon 1, 2, 4 and 8, the same for all rows:
what differs is which numbers the noise of standard deviation z C / 200 is added to, per
adapted layer of d x d with r = 16:

    ilora      (Y, R), orthonormal E and Q: r (2 d - r) numbers, as many as a matrix of
               rank r has; of the product itself, so that C bounds the product, and no
               noise is multiplied.
    fedit      B and A: 2 r d numbers; C bounds the factors' change, and the product
               gets B N_A + N_B A + N_B N_A.
    ffa-lora   B alone: r d numbers, A being random and frozen; the product gets N_B A.

and for all of them to the same head, 384 numbers a class: 57,600 of clinc150's 150
classes, four times what ILoRA's four layers have together. C is of another unit in each
row, so that it is chosen for each with the rate: by accuracy on the clients' held-out
data, seed 0, epsilon 4; without privacy the rate alone. That choice is not in epsilon.
Clients train with SGD: of AdamW's steps, which are of one length in all numbers, a clip
leaves next to nothing to the few classes that a client has (a head alone on frozen
features, clinc150, epsilon 8: 0.62 with SGD, the best of 9; 0.17 with AdamW, of 6).
Dense updates (d d numbers) are no row: fedavg-full aggregates no sum that is clipped
and noised here.

Unit record: 8 clients of 625 rows or so, 8 rounds of 20 steps, in each of which a row
is drawn with probability 0.1; delta is 0.0005, and z 1.5 or so at epsilon 4. Noise is
on the gradients of whatever trains: of B and A of ilora and fedit, of B of ffa-lora,
and of the head. Rate and clip are chosen on a tenth of the training split, as nodes
measure nothing then.

Finished runs are in DIR/private.jsonl or DIR/record.jsonl, and are not run again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import laboratory
from benchmarks.laboratory import Config
from benchmarks.recorded import held_out, score
from benchmarks.study import work

TASKS = ("clinc150", "banking77")
LEVELS = ("1", "2", "4", "8", "none")
CHOSEN_AT = "4"
SEEDS = 5
COMMON: Config = {
    **laboratory.COMMON,
    "head": "trained",
    "drift-correction": "none",
    "dirichlet-alpha": 0.5,
    "min-partition-size": 10,
    "optimizer": "sgd",
    "num-server-rounds": 8,
    "evaluate-every": 8,
}
ROWS: dict[str, Config] = {
    "ilora": {"strategy": "ilora", "decomposition": "qr"},
    "fedit": {"strategy": "fedit"},
    "ffa-lora": {"strategy": "ffa-lora"},
}


@dataclass(frozen=True)
class Unit:
    """What is hidden, of how many clients.

    Attributes:
        dp: setting.
        clients: how many.
        delta: of the account.
        rates, clips: that are tried.
        common: settings.
        chosen_on: settings of runs that choose rate and clip; their seed is -1.
        file: of the results.

    """

    dp: str
    clients: int
    delta: float
    rates: tuple[float, ...]
    clips: tuple[float, ...]
    common: Config
    chosen_on: Config
    file: str


CLIENT = Unit(
    "client",
    200,
    1e-3,
    (0.03, 0.1, 0.3, 1.0),
    (0.3, 1.0, 3.0),
    {
        **COMMON,
        "holdout-fraction": 0.2,
        "local-steps": 4,
        "batch-size": 16,
        "clients-per-batch": 50,
    },
    {},
    "private.jsonl",
)
RECORD = Unit(
    "record",
    laboratory.CLIENTS,
    5e-4,
    (0.1, 0.3, 1.0, 3.0),
    (0.1, 0.3, 1.0),
    {**COMMON, "holdout-fraction": 0.0, "local-steps": 20, "batch-size": 64},
    {"train-split": "train[:90%]", "test-split": "train[90%:]"},
    "record.jsonl",
)
UNITS = {unit.dp: unit for unit in (CLIENT, RECORD)}


@dataclass(frozen=True)
class Run:
    """What tells one run from the others; clip is 0 without privacy."""

    task: str
    row: str
    level: str
    rate: float
    clip: float
    seed: int


class Record:
    """What has been run, in a file of one object a line.

    Args:
        file: of the results; made where there is none.
        unit: what is hidden.

    """

    def __init__(self, file: Path, unit: Unit = CLIENT) -> None:
        self.file, self.unit = file, unit
        lines = file.read_text().splitlines() if file.exists() else []
        self.results: dict[Run, Config] = {}
        for line in lines:
            found = json.loads(line)
            self.results[Run(**found.pop("run"))] = found

    def add(self, run: Run, result: Config) -> None:
        """Keep what a run came to."""
        self.results[run] = result
        with self.file.open("a") as out:
            out.write(json.dumps({"run": vars(run), **result}) + "\n")
        print(run, score(result), result.get("error", ""), flush=True)

    def chosen(self, task: str, row: str, level: str) -> tuple[Run | None, list[Run]]:
        """The run whose rate and clip are taken, or those that are still to be run."""
        unit, private = self.unit, level != "none"
        at, clips = (CHOSEN_AT, unit.clips) if private else (level, (0.0,))
        seed = -1 if unit.chosen_on else 0
        grid = [Run(task, row, at, r, clip, seed) for r in unit.rates for clip in clips]
        if left := [run for run in grid if run not in self.results]:
            return None, left
        told = score if unit.chosen_on else held_out
        return max(grid, key=lambda run: told(self.results[run]) or -1.0), []

    def missing(
        self,
        tasks: Sequence[str],
        rows: Sequence[str],
        levels: Sequence[str],
        seeds: int,
    ) -> list[Run]:
        """What can be run now: the grids first, then seed by seed."""
        columns = [(t, row, level) for t in tasks for row in rows for level in levels]
        picked = {column: self.chosen(*column) for column in columns}
        found = dict.fromkeys(run for _, left in picked.values() for run in left)
        for seed in range(seeds):
            for (task, row, level), (best, _) in picked.items():
                if best:
                    run = Run(task, row, level, best.rate, best.clip, seed)
                    found[run] = None
        return [run for run in found if run not in self.results]


def config_of(run: Run, data: Path, cache: Path, unit: Unit = CLIENT) -> Config:
    """The run config of a run."""
    task = laboratory.task(run.task, data, cache)
    whole = {**unit.common, **task, **ROWS[run.row]}
    whole |= {"learning-rate": run.rate, "seed": max(run.seed, 0)}
    whole |= unit.chosen_on if run.seed < 0 else {}
    if run.level == "none":
        return whole
    epsilon = {"dp-target-epsilon": float(run.level), "dp-delta": unit.delta}
    return {**whole, "dp": unit.dp, "dp-clip": run.clip, **epsilon}


def main() -> None:
    """Run what is missing, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--levels", default=",".join(LEVELS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--unit", choices=UNITS, default="client")
    given, unit = (found := parser.parse_args()), UNITS[found.unit]
    given.out.mkdir(parents=True, exist_ok=True)
    record, cache = Record(given.out / unit.file, unit), given.out / "data"
    tasks, rows, levels = (
        text.split(",") for text in (given.tasks, given.rows, given.levels)
    )
    for task in tasks:  # cut here, where nobody else cuts it
        laboratory.task(task, given.data, cache)
    work(
        partial(record.missing, tasks, rows, levels, given.seeds),
        partial(config_of, data=given.data, cache=cache, unit=unit),
        record.add,
        time.monotonic() + 60 * given.minutes,
        given.workers,
        unit.clients,
    )


if __name__ == "__main__":
    main()
