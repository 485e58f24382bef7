"""How far rows lie behind the best one, paired by seed, and which tie with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ilora_app.compare.finished import Run
from ilora_app.compare.intervals import Difference, corrected, over_seeds
from ilora_app.compare.results import Summary
from ilora_app.compare.sections import Section

ABOUT = (
    "Final {measure} less that of {best}, paired by seed, with 95 % intervals "
    "(Student's t) and p values corrected for their number (Holm). The best row was "
    "found by the same runs, which flatters it. = marks rows that are not told apart "
    "from it: their interval has 0 in it."
)


@dataclass(frozen=True)
class Behind:
    """A row beside the best one.

    Attributes:
        name: of the row.
        gap: how good it ends, less how good the best row does.
        p: of no difference, two-sided, corrected for the number of rows with two
            seeds or more.

    """

    name: str
    gap: Difference
    p: float

    @property
    def tied(self) -> bool:
        """Whether the two are not told apart."""
        return self.gap.known and not self.gap.excludes_zero


def behind_best(section: Section) -> list[Behind]:
    """Every method beside the best one, over the seeds that both have run."""
    if not section.methods:
        return []
    best, *others = section.methods
    found = [(s.name, gap) for s in others if (gap := paired(best.runs, s.runs))]
    values = corrected([gap for _, gap in found])
    return [Behind(name, gap, p) for (name, gap), p in zip(found, values, strict=True)]


def paired(ground: Sequence[Run], other: Sequence[Run]) -> Difference | None:
    """How good some runs end, less how good others of the same seeds do."""
    before, after = _finals(ground), _finals(other)
    gaps = [after[seed] - before[seed] for seed in sorted(before.keys() & after.keys())]
    return over_seeds(gaps) if gaps else None


def about(section: Section) -> str:
    """What the table of a section says."""
    best: Summary = section.methods[0]
    return ABOUT.format(best=best.name, measure=section.measure)


def table(section: Section) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of people; no rows where there is one method."""
    rows = [
        [
            f"{row.name} =" if row.tied else row.name,
            str(row.gap),
            _p(row.p) if row.gap.known else "–",
            str(row.gap.seeds),
        ]
        for row in behind_best(section)
    ]
    return ["method", "difference", "p", "seeds"], rows


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else "<0.001"


def _finals(runs: Sequence[Run]) -> dict[int, float]:
    found = {run.seed: run.score for run in runs}
    return {seed: value for seed, value in found.items() if value is not None}
