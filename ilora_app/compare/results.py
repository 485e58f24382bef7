"""What a row came to over its seeds, and which rows are held against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from ilora_app.compare.finished import Run, Spread, read_run
from ilora_app.compare.jobs import FAILED, Job, Record
from ilora_app.compare.plan import Entry, Plan
from ilora_app.compare.rates import Choice, choose
from ilora_app.methods import BOUNDS, find


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
        """How good its models are after the last round."""
        return Spread.of(run.score for run in self.runs)


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
