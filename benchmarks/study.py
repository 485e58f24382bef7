"""The study: strategies and drift corrections where fine-tuning adds something.

    python -m benchmarks.study --data DATA --out DIR [--seeds 5] [--minutes 60]
        [--workers 1] [PART ...]

A part is TABLE:TASKS:SETTINGS, such as strategies:clinc150,banking77:skewed. Parts are
run in their order.

Every row's learning rate is chosen by the accuracy on the clients' held-out data, with
seed 0 in the setting "skewed", starting with three rates and going on while the best is
at the end of those tried. The other seeds and settings take that rate. A row that is
more than 0.05 behind the best of its table after two seeds is not run with more, but
for the steps of the ablation.

Finished runs are in DIR/runs.jsonl, and are not run again.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks import laboratory
from benchmarks.design import ROUNDS, SEEDS, SETTINGS, TABLES
from benchmarks.laboratory import Config
from benchmarks.recorded import Run, Study, score

Job = TypeVar("Job")


def tried(config: Config, clients: int | None = None) -> Config:
    """Run one; why it failed, where it did."""
    try:
        return laboratory.run(config, clients)
    except Exception as error:  # the others are run all the same
        return {"error": f"{type(error).__name__}: {error}"}


def config_of(run: Run, data: Path, cache: Path) -> Config:
    """The run config of a run."""
    rows = {name: row for table in TABLES.values() for name, row in table.items()}
    whole = {
        **laboratory.COMMON,
        **ROUNDS,
        **laboratory.task(run.task, data, cache),
        **SETTINGS[run.setting],
        **rows[run.row],
        "learning-rate": run.rate,
        "seed": run.seed,
    }
    return {key: value for key, value in whole.items() if value is not None}


@dataclass(frozen=True)
class Part:
    """Rows of a table on some tasks under some settings."""

    table: str
    tasks: Sequence[str] = ("clinc150",)
    settings: Sequence[str] = ("skewed",)

    @classmethod
    def read(cls, text: str) -> "Part":
        """Of TABLE:TASKS:SETTINGS, the last two with commas and with defaults."""
        table, *rest = text.split(":")
        if table not in TABLES or len(rest) > 2:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no TABLE:TASKS:SETTINGS with one of {', '.join(TABLES)}"
            )
        return cls(table, *(part.split(",") for part in rest))


def complete(
    study: Study,
    parts: Sequence[Part],
    seeds: int,
    data: Path,
    until: float = float("inf"),
    workers: int = 1,
) -> None:
    """Run what is missing of some parts, those of the first ones first.

    Args:
        study: gets the results.
        parts: tables, tasks and settings.
        seeds: of each.
        data: folder with the data sets.
        until: no run starts behind this time of ``time.monotonic``.
        workers: processes; each runs one at a time, on one thread.

    """
    cache = study.file.parent / "data"
    for task in {task for part in parts for task in part.tasks}:
        # Cut here, where nobody else cuts it.
        laboratory.task(task, data, cache)

    def missing() -> list[Run]:
        return [
            run
            for part in parts
            for run in study.missing(part.tasks, part.settings, part.table, seeds)
        ]

    def keep(run: Run, result: Config) -> None:
        study.add(run, result)
        print(run, score(result), flush=True)

    work(missing, partial(config_of, data=data, cache=cache), keep, until, workers)


def work(
    missing: Callable[[], list[Job]],
    config_of: Callable[[Job], Config],
    keep: Callable[[Job, Config], None],
    until: float,
    workers: int,
    clients: int | None = None,
) -> None:
    """Run what is missing, as long as something is.

    Args:
        missing: what can be run now, the first ones first; asked after every run.
        config_of: the run config of one.
        keep: gets what one came to.
        until: no run starts behind this time of ``time.monotonic``.
        workers: processes.
        clients: of every run; None: as many as the laboratory takes for it.

    """
    running: dict[Future[Config], Job] = {}
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawned, laboratory.be_polite) as pool:
        while True:
            taken = set(running.values())
            free = workers - len(running) if time.monotonic() < until else 0
            for run in missing() if free else ():
                if free > 0 and run not in taken:
                    running[pool.submit(tried, config_of(run), clients)] = run
                    taken.add(run)
                    free -= 1
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                keep(running.pop(future), future.result())


def main() -> None:
    """Run what is missing, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    default = [Part("strategies")]
    parser.add_argument("parts", nargs="*", type=Part.read, default=default)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    complete(
        Study(given.out / "runs.jsonl"),
        given.parts,
        given.seeds,
        given.data,
        time.monotonic() + 60 * given.minutes,
        given.workers,
    )


if __name__ == "__main__":
    main()
