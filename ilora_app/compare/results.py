"""Reads run folders: what a run came to, and what a row came to over its seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ilora_app.compare.jobs import FAILED, FINISHED, Job, Record
from ilora_app.compare.plan import Entry, Plan
from ilora_app.methods import BOUNDS, find
from ilora_app.report.reading import RoundRow, read_events, read_rounds
from ilora_app.runs.places import METRICS
from ilora_app.runs.traffic import DOWN, PURPOSES, UP

_MAKING = [
    f"bytes_{way}{suffix}"
    for purpose, suffix in PURPOSES.items()
    for way in (DOWN, UP)
    if purpose != "evaluation"
]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        seed: of the run.
        rounds: as in its metrics.csv; empty cells left out.
        baselines: what it recorded of guessing and of a linear model, by name.

    """

    seed: int
    rounds: tuple[RoundRow, ...]
    baselines: Mapping[str, float] = field(default_factory=dict)

    def series(self, column: str) -> list[tuple[int, float]]:
        """(round, value) where there is one."""
        return [(int(r["round"]), r[column]) for r in self.rounds if column in r]

    def last(self, column: str) -> float | None:
        """Value of the last round that has one."""
        values = self.series(column)
        return values[-1][1] if values else None

    def megabytes(self) -> list[tuple[int, float]]:
        """(round, megabytes so far, both ways, all clients).

        Of all that makes the model: to measure it is not counted.
        """
        sums, total = [], 0.0
        for row in self.rounds:
            total += sum(row.get(column, 0.0) for column in _MAKING) / 1e6
            sums.append((int(row["round"]), total))
        return sums

    def mean(self, *columns: str) -> float | None:
        """Mean over the rounds of training of a sum of columns."""
        values = [
            sum(row.get(column, 0.0) for column in columns)
            for row in self.rounds
            if row["round"] > 0 and any(column in row for column in columns)
        ]
        return statistics.fmean(values) if values else None

    def reaches(self, target: float) -> int | None:
        """First round with the target accuracy."""
        hits = [n for n, value in self.series("accuracy") if value >= target]
        return hits[0] if hits else None


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of ``n`` values."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """From the values there are; None where there are none."""
        found = [value for value in values if value is not None]
        if not found:
            return None
        std = statistics.stdev(found) if len(found) > 1 else 0.0
        return cls(statistics.fmean(found), std, len(found))


@dataclass(frozen=True)
class Choice:
    """The learning rate of a row.

    Args:
        rate: the best; None where no run of any rate has finished.
        edge: whether it is the smallest or the largest of a grid.
        scores: mean held-out accuracy by rate.

    """

    rate: float | None
    edge: bool
    scores: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Summary:
    """A row under a preset: its runs at the chosen rate, and the ones that failed."""

    entry: Entry
    choice: Choice
    runs: tuple[Run, ...]
    failures: tuple[tuple[Job, Record], ...]
    missing: int
    records: tuple[Record, ...]

    @property
    def name(self) -> str:
        """Name of the row."""
        return self.entry.row.name

    @property
    def final(self) -> Spread | None:
        """Accuracy after the last round."""
        return Spread.of(run.last("accuracy") for run in self.runs)

    @property
    def best(self) -> Spread | None:
        """Largest accuracy of a round."""
        return Spread.of(
            max((value for _, value in run.series("accuracy")), default=None)
            for run in self.runs
        )


def read_run(job: Job) -> Run | None:
    """Read a finished run; None where it has not finished."""
    record = job.record()
    if record is None or record.status != FINISHED:
        return None
    rounds = tuple(read_rounds(job.folder / METRICS))
    found: Mapping[str, Any] = next(
        (e for e in read_events(job.folder) if e["event"] == "baselines"), {}
    )
    known = {k: v for k, v in found.items() if isinstance(v, int | float)}
    return Run(job.seed, rounds, known)


def choose(plan: Plan, entry: Entry) -> Choice:
    """Choose a row's rate on the clients' held-out data, never on the test split."""
    entry = plan.rate_source(entry)
    grid = plan.grid(entry)
    if len(grid) == 1:
        return Choice(grid[0], False, ())
    scores = _scores(plan, entry, grid, plan.select)
    if not scores:
        return Choice(None, False, ())
    rates = finalists(plan, entry)
    if len(rates) > 1:
        over_all = _scores(plan, entry, rates, len(plan.seeds))
        scores = sorted((dict(scores) | dict(over_all)).items())
        rates = tuple(rate for rate, _ in over_all) or rates
    best = max(rates, key=lambda rate: (dict(scores)[rate], -rate))
    return Choice(best, best in (min(grid), max(grid)), tuple(scores))


def finalists(plan: Plan, entry: Entry) -> tuple[float, ...]:
    """Rates of a row to run with all seeds: the best ones over the first seeds."""
    scores = _scores(plan, entry, plan.grid(entry), plan.select)
    best = sorted(scores, key=lambda pair: (-pair[1], pair[0]))[: plan.finalists]
    return tuple(rate for rate, _ in best)


def _scores(
    plan: Plan, entry: Entry, rates: Sequence[float], seeds: int
) -> list[tuple[float, float]]:
    """Mean held-out accuracy by rate, over the first seeds."""
    found = []
    for rate in sorted(rates):
        runs = [read_run(job) for job in plan.chosen(entry, rate)[:seeds]]
        score = Spread.of(_held_out(run) for run in runs if run)
        if score:
            found.append((rate, score.mean))
    return found


def summarise(plan: Plan, entry: Entry) -> Summary:
    """Read everything that there is of a row under a preset."""
    choice = choose(plan, entry)
    rate = plan.rates[0] if choice.rate is None else choice.rate
    jobs = plan.chosen(entry, rate)
    tried = [plan.job(entry, r, s) for r in plan.rates for s in plan.seeds]
    records = [(job, record) for job in tried if (record := job.record())]
    return Summary(
        entry,
        choice,
        tuple(run for job in jobs if (run := read_run(job))),
        tuple((job, record) for job, record in records if record.status == FAILED),
        sum(job.record() is None for job in jobs),
        tuple(record for _, record in records),
    )


def target_of(summaries: Sequence[Summary], wanted: str) -> float | None:
    """The target accuracy: the one named, or 95 % of the best row's final accuracy."""
    if wanted != "auto":
        return float(wanted)
    methods = [s for s in summaries if kind_of(s) == METHOD] or list(summaries)
    finals = [final.mean for s in leaders(methods) if (final := s.final)]
    return 0.95 * max(finals) if finals else None


def leaders(summaries: Sequence[Summary]) -> list[Summary]:
    """Rows with the most finished seeds, among which the best is looked for.

    One of which most seeds have failed may have had luck with the others.
    """
    seeds = [final.n if (final := s.final) else 0 for s in summaries]
    most = max(seeds, default=0)
    return [s for s, n in zip(summaries, seeds, strict=True) if n == most]


METHOD, PERSONAL, BOUND = "method", "personal", "bound"


def kind_of(summary: Summary) -> str:
    """Whether a row competes, ends with personal models, or bounds the others.

    What personal models get on everybody's data says little of the global model that
    other rows have, so they are ranked among themselves.
    """
    strategy = str(summary.entry.config["strategy"])
    if strategy in BOUNDS:
        return BOUND
    return PERSONAL if find(strategy).personal else METHOD


def _held_out(run: Run) -> float | None:
    value = run.last("held_out_accuracy")
    return run.last("client_accuracy_mean") if value is None else value
