"""Accuracy under differential privacy: noise where it hurts least.

    python -m benchmarks.private --data DATA --out DIR [--tasks e2e,dolly]
        [--rows ilora,...] [--levels 1,2,4,8,none] [--seeds 5] [--minutes 60]
        [--workers 1] [--unit client]

What is run is in ``private_design``. Finished runs are in DIR/private.jsonl or
DIR/record.jsonl, and are not run again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import laboratory
from benchmarks.laboratory import Config
from benchmarks.private_design import (
    CHOSEN_AT,
    CLIENT,
    LADDER,
    LEVELS,
    SEEDS,
    TASKS,
    UNITS,
    Unit,
    beside,
)
from benchmarks.recorded import held_out, score
from benchmarks.study import work


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
        of = partial(Run, task, row, at, seed=-1 if unit.chosen_on else 0)
        first = [of(rate=rate, clip=clip) for rate in unit.rates for clip in clips]
        if left := [run for run in first if run not in self.results]:
            return None, left
        told = score if unit.chosen_on else held_out
        tried = [
            of(rate=r, clip=c) for r in LADDER for c in (LADDER if private else clips)
        ]
        found = {run: told(self.results[run]) for run in tried if run in self.results}
        worst = float("-inf")  # of a run that failed
        best = max(found, key=lambda r: worst if found[r] is None else found[r])
        near = [replace(best, rate=rate) for rate in beside(best.rate)]
        clips = beside(best.clip) if private else ()
        near += [replace(best, clip=clip) for clip in clips]
        left = [run for run in near if run not in self.results]
        return (None, left) if left else (best, [])

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
    whole = {**task, **unit.common, **unit.rows[run.row]}
    whole |= {"learning-rate": run.rate, "seed": max(run.seed, 0)}
    whole |= unit.chosen_on if run.seed < 0 else {}
    whole = {key: value for key, value in whole.items() if value is not None}
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
    parser.add_argument("--rows", help="of the unit; all")
    parser.add_argument("--levels", default=",".join(LEVELS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--unit", choices=UNITS, default="client")
    given, unit = (found := parser.parse_args()), UNITS[found.unit]
    given.out.mkdir(parents=True, exist_ok=True)
    record, cache = Record(given.out / unit.file, unit), given.out / "data"
    tasks, levels = given.tasks.split(","), given.levels.split(",")
    rows = given.rows.split(",") if given.rows else list(unit.rows)
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
