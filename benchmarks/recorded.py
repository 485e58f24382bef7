"""What the study has run, which rates that chooses, and what is to be run next."""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import design
from benchmarks.design import AFTER, BEHIND, RATES, START, UNTRAINED
from benchmarks.laboratory import Config

COMMITTED = Path(__file__).parent / "results" / "evidence" / "runs.jsonl"


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
        self.seeds = {run.seed for run in self.results}

    def add(self, run: Run, result: Config) -> None:
        """Keep what a run came to."""
        self.results[run] = result
        self.seeds.add(run.seed)
        with self.file.open("a") as out:
            out.write(json.dumps({"run": vars(run), **result}) + "\n")

    def rate(self, task: str, row: str) -> tuple[float | None, list[float]]:
        """The rate that is chosen, or None and those to try next."""
        row = design.RATE_OF.get(row, row)
        if row in UNTRAINED:
            return START[0], []
        scores = {
            rate: found if found is not None else -math.inf
            for rate in RATES
            if (run := Run(task, "skewed", row, rate, 0)) in self.results
            for found in [held_out(self.results[run])]
        }
        if untried := [rate for rate in START if rate not in scores]:
            return None, untried
        best = max(scores, key=lambda rate: (scores[rate], -rate))
        place = RATES.index(best)
        near = RATES[max(place - 1, 0) : place + 2]
        if untried := [rate for rate in near if rate not in scores]:
            return None, untried
        return best, []

    def finals(self, task: str, setting: str, row: str) -> dict[int, float]:
        """Final score by seed, at the rate that is chosen."""
        rate = self.rate(task, row)[0] or 0.0
        finals = {}
        for seed in self.seeds:
            result = self.results.get(Run(task, setting, row, rate, seed))
            if result and (found := score(result)) is not None:
                finals[seed] = found
        return finals

    def missing(
        self, tasks: Sequence[str], settings: Sequence[str], table: str, seeds: int
    ) -> list[Run]:
        """What can be run now: rates first, then seed by seed."""
        found = []
        for task in tasks:
            for row in design.rows(table, task):
                tried = design.RATE_OF.get(row, row)
                runs = [
                    Run(task, "skewed", tried, rate, 0)
                    for rate in self.rate(task, row)[1]
                ]
                found += [run for run in runs if run not in found]
        for seed in range(seeds):
            for task in tasks:
                rows = design.rows(table, task)
                stops = table not in design.TO_THE_END
                for setting in settings:
                    found += self._finals_missing(task, setting, rows, seed, stops)
        return found

    def _finals_missing(
        self, task: str, setting: str, rows: dict[str, Config], seed: int, stops: bool
    ) -> list[Run]:
        """Runs of a seed at the chosen rates that are to be run, and can be.

        Where rows stop, who is far behind over the first seeds is not run with more.
        """
        rates = {row: self.rate(task, row)[0] for row in rows}
        runs = {
            row: Run(task, setting, row, rate, seed)
            for row, rate in rates.items()
            if rate is not None
        }
        if stops and seed >= AFTER:
            early = [  # who is far behind is known when all have run so far
                Run(task, setting, row, rate or 0.0, s)
                for row, rate in rates.items()
                for s in range(AFTER)
            ]
            if any(run not in self.results for run in early):
                return []
            behind = self.behind(task, setting, rows)
            runs = {row: run for row, run in runs.items() if row not in behind}
        return [run for run in runs.values() if run not in self.results]

    def behind(self, task: str, setting: str, rows: Iterable[str]) -> set[str]:
        """Rows that cannot win any more: they are far behind over the first seeds."""
        means = {}
        for row in rows:
            finals = self.finals(task, setting, row)
            early = [finals[seed] for seed in range(AFTER) if seed in finals]
            if len(early) == AFTER:
                means[row] = statistics.fmean(early)
        best = max(means.values(), default=0.0)
        return {row for row, mean in means.items() if mean < best - BEHIND}


def score(result: Config) -> float | None:
    """Accuracy after the last round, of a language model the log-likelihood of a token.

    The latter is - log(perplexity), in nats. None of a run that failed.
    """
    perplexity = last(result, "perplexity")
    if perplexity is not None:
        return -math.log(perplexity)
    return last(result, "accuracy")


def held_out(result: Config) -> float | None:
    """Accuracy, or - loss, on the clients' held-out data after the last round."""
    loss = last(result, "client_loss_mean")
    if loss is not None and last(result, "perplexity") is not None:
        return -loss
    found = last(result, "held_out_accuracy")
    return last(result, "client_accuracy_mean") if found is None else found


def last(result: Config, column: str) -> float | None:
    """Value of a column in the last round that has one."""
    values = [row[column] for row in result.get("rows", ()) if column in row]
    return float(values[-1]) if values else None
