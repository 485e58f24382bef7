"""One finished run of a comparison, as its folder tells it, and means over seeds."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ilora_app.compare.jobs import FINISHED, Job
from ilora_app.report.reading import RoundRow, read_events, read_rounds
from ilora_app.runs.places import METRICS
from ilora_app.runs.traffic import DOWN, PURPOSES, UP

_MAKING = [
    f"bytes_{way}{suffix}"
    for purpose, suffix in PURPOSES.items()
    for way in (DOWN, UP)
    if purpose != "evaluation"
]


QUALITIES = {"accuracy": "accuracy", "spearman": "rank correlation"}
"""Columns of how good a model is, of which a task has one: what people read of it."""

Series = list[tuple[int, float]]
"""(round, value) in the order of the rounds."""


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

    @property
    def quality(self) -> str:
        """Column of how good its model is; that of most where it has none."""
        known = [c for c in QUALITIES if any(c in row for row in self.rounds)]
        return known[0] if known else next(iter(QUALITIES))

    @property
    def measure(self) -> str:
        """What people read of that column."""
        return QUALITIES[self.quality]

    @property
    def scores(self) -> Series:
        """(round, how good the model was on the test split)."""
        return self.series(self.quality)

    @property
    def score(self) -> float | None:
        """How good the model was in the last round that says so."""
        return self.last(self.quality)

    @property
    def best(self) -> float | None:
        """How good it was in its best round."""
        return max((value for _, value in self.scores), default=None)

    def series(self, column: str) -> Series:
        """(round, value) where there is one."""
        return [(int(r["round"]), r[column]) for r in self.rounds if column in r]

    def last(self, column: str) -> float | None:
        """Value of the last round that has one."""
        values = self.series(column)
        return values[-1][1] if values else None

    def megabytes(self) -> Series:
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
        """First round that is so good."""
        hits = [n for n, value in self.scores if value >= target]
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
