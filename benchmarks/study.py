"""The study: strategies and drift corrections where fine-tuning adds something.

    python -m benchmarks.study --data DATA --out DIR [--tasks clinc150,...] [--seeds 5]
        [--settings skewed,...] [--tables strategies,...] [--minutes 60]

Every row's learning rate is chosen by the accuracy on the clients' held-out data, with
seed 0 in the setting "skewed", starting with three rates and going on while the best is
at the end of those tried. The other seeds and settings take that rate. A row that is
more than 0.05 behind the best of its table after two seeds is not run with more.

Finished runs are in DIR/runs.jsonl, and are not run again.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import laboratory
from benchmarks.design import (
    AFTER,
    BEHIND,
    RATES,
    ROUNDS,
    SEEDS,
    SETTINGS,
    START,
    TABLES,
    UNTRAINED,
)
from benchmarks.laboratory import Config


@dataclass(frozen=True)
class Run:
    """What tells one run from the others."""

    task: str
    setting: str
    row: str
    rate: float
    seed: int


class Study:
    """What has been run, in a file of one object a line.

    Args:
        file: of the results; made where there is none.

    """

    def __init__(self, file: Path) -> None:
        self.file = file
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

    def rate(self, task: str, row: str) -> tuple[float | None, float | None]:
        """The rate that is chosen, or the one to try next; one of them is None."""
        if row in UNTRAINED:
            return START[0], None
        scores = {
            rate: held_out(self.results[run]) or -1.0
            for rate in RATES
            if (run := Run(task, "skewed", row, rate, 0)) in self.results
        }
        for rate in START:
            if rate not in scores:
                return None, rate
        best = max(scores, key=lambda rate: (scores[rate], -rate))
        place = RATES.index(best)
        for beside in RATES[max(place - 1, 0) : place + 2]:
            if beside not in scores:
                return None, beside
        return best, None

    def finals(self, task: str, setting: str, row: str) -> dict[int, float]:
        """Final score by seed, at the rate that is chosen."""
        rate, _ = self.rate(task, row)
        return {
            run.seed: found
            for run, result in self.results.items()
            if (run.task, run.setting, run.row, run.rate) == (task, setting, row, rate)
            and (found := score(result)) is not None
        }

    def missing(
        self, tasks: Sequence[str], settings: Sequence[str], table: str, seeds: int
    ) -> Iterator[Run]:
        """What is to be run next, seed by seed; asks anew after every run."""
        rows = TABLES[table]
        for task in tasks:
            for row in rows:
                while (beside := self.rate(task, row)[1]) is not None:
                    yield Run(task, "skewed", row, beside, 0)
        for seed in range(seeds):
            for task in tasks:
                for setting in settings:
                    for row in rows:
                        rate = self.rate(task, row)[0]
                        run = Run(task, setting, row, rate or 0.0, seed)
                        if run not in self.results and not (
                            seed >= AFTER and self.behind(task, setting, row, rows)
                        ):
                            yield run

    def behind(
        self, task: str, setting: str, row: str, rows: Sequence[str] | dict[str, Config]
    ) -> bool:
        """Whether a row cannot win any more: it is far behind over the first seeds."""

        def early(name: str) -> float | None:
            finals = self.finals(task, setting, name)
            found = [finals[s] for s in range(AFTER) if s in finals]
            return statistics.fmean(found) if len(found) == AFTER else None

        means = {name: mean for name in rows if (mean := early(name)) is not None}
        return row in means and means[row] < max(means.values()) - BEHIND


def score(result: Config) -> float | None:
    """Accuracy after the last round; None of a run that failed."""
    return last(result, "accuracy")


def held_out(result: Config) -> float | None:
    """Accuracy on the clients' held-out data after the last round."""
    found = last(result, "held_out_accuracy")
    return last(result, "client_accuracy_mean") if found is None else found


def last(result: Config, column: str) -> float | None:
    """Value of a column in the last round that has one."""
    values = [row[column] for row in result.get("rows", ()) if column in row]
    return float(values[-1]) if values else None


def tried(config: Config) -> Config:
    """Run one; why it failed, where it did."""
    try:
        return laboratory.run(config)
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


def complete(
    study: Study,
    table: str,
    tasks: Sequence[str],
    settings: Sequence[str],
    seeds: int,
    data: Path,
    until: float = float("inf"),
) -> None:
    """Run what is missing of a table, one after the other.

    Args:
        study: gets the results.
        table: its name.
        tasks, settings, seeds: of its columns.
        data: folder with the data sets.
        until: no run starts behind this time of ``time.monotonic``.

    """
    for run in study.missing(tasks, settings, table, seeds):
        if time.monotonic() > until:
            return
        config = config_of(run, data, study.file.parent / "data")
        study.add(run, tried(config))
        print(run, score(study.results[run]), flush=True)


def main() -> None:
    """Run what is missing, for as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="clinc150")
    parser.add_argument("--settings", default="skewed")
    parser.add_argument("--tables", default="strategies")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    study, until = (
        Study(given.out / "runs.jsonl"),
        time.monotonic() + 60 * given.minutes,
    )
    tasks, settings = given.tasks.split(","), given.settings.split(",")
    laboratory.be_polite()
    for table in given.tables.split(","):
        complete(study, table, tasks, settings, given.seeds, given.data, until)


if __name__ == "__main__":
    main()
