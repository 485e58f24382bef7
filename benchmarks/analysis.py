"""Tables of the study: what each row ends with, and its difference to a reference.

python -m benchmarks.analysis --out DIR [--table strategies] [--setting skewed]
    [--reference ilora]
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import design
from benchmarks.laboratory import Config, unpack
from benchmarks.recorded import Run, Study, last, score
from ilora_app.compare.intervals import (
    Difference,
    corrected,
    over_seeds,
    over_seeds_and_rows,
)


@dataclass(frozen=True)
class Cell:
    """A row on a task: its runs at the chosen rate, by seed."""

    rate: float
    runs: dict[int, Config]

    def mean(self, column: str) -> float | None:
        """Of a column after the last round, over the seeds that have it."""
        found = [last(result, column) for result in self.runs.values()]
        values = [value for value in found if value is not None]
        return statistics.fmean(values) if values else None

    def deviation(self) -> float:
        """Standard deviation of the final score over the seeds."""
        finals = [score(result) or 0.0 for result in self.runs.values()]
        return statistics.stdev(finals) if len(finals) > 1 else 0.0

    @property
    def language(self) -> bool:
        """Whether a language model was trained: perplexity is what counts."""
        return self.mean("perplexity") is not None

    def final(self) -> float:
        """Accuracy, or the loss whose exponential is the perplexity."""
        return self.mean("loss" if self.language else "accuracy") or 0.0

    def smallest(self) -> float | None:
        """The same, of what a client of the smallest rank holds."""
        if self.language:
            columns = {c for r in self.runs.values() for c in r["rows"][-1]}
            ranks = [int(c.removeprefix("loss_r")) for c in columns if "loss_r" in c]
            return self.mean(f"loss_r{min(ranks)}") if ranks else None
        hits = [r["right"]["smallest"] for r in self.runs.values() if r.get("right")]
        return float(np.mean([np.mean(unpack(h)) for h in hits])) if hits else None

    def megabytes(self) -> float:
        """Sent in all, both ways, by all clients: training, evaluation and the head."""
        totals = [
            sum(v for row in r["rows"] for k, v in row.items() if k.startswith("bytes"))
            for r in self.runs.values()
        ]
        return statistics.fmean(totals) / 1e6

    def seconds(self) -> float:
        """Of the runs together."""
        return float(sum(r["seconds"] for r in self.runs.values()))


def cell(study: Study, task: str, setting: str, row: str) -> Cell | None:
    """What was run of a row at its rate; None where nothing has finished."""
    rate, _ = study.rate(task, row)
    if rate is None:
        return None
    runs = {
        run.seed: result
        for run, result in study.results.items()
        if run == Run(task, setting, row, rate, run.seed) and score(result) is not None
    }
    return Cell(rate, dict(sorted(runs.items()))) if runs else None


def difference(one: Cell, other: Cell, which: str = "global") -> Difference | None:
    """Of two rows, paired by seed and, where both have them, by test row."""
    seeds = sorted(one.runs.keys() & other.runs.keys())
    if not seeds:
        return None
    pairs = [(one.runs[s], other.runs[s]) for s in seeds]
    if all(a.get("right") and b.get("right") for a, b in pairs):
        D = [
            np.subtract(
                np.array(unpack(a["right"][which]), dtype=float),
                np.array(unpack(b["right"][which]), dtype=float),
            )
            for a, b in pairs
        ]
        return over_seeds_and_rows(np.stack(D))
    return over_seeds([(score(a) or 0.0) - (score(b) or 0.0) for a, b in pairs])


def table(
    study: Study, task: str, setting: str, rows: Sequence[str], reference: str
) -> list[str]:
    """Lines of Markdown: a row each, the best first.

    Of a language model the loss stands there, in nats a token of the answer: less is
    better, and worst client is still a share of tokens.
    """
    cells = {row: c for row in rows if (c := cell(study, task, setting, row))}
    if reference not in cells:
        return []
    gaps = {
        row: gap
        for row, found in cells.items()
        if row != reference and (gap := difference(found, cells[reference]))
    }
    p = dict(zip(gaps, corrected(list(gaps.values())), strict=True))
    what = "loss" if cells[reference].language else "final"
    lines = [
        f"| {task}, {setting} | {what} | less {reference} | smallest rank "
        "| worst client | MB | rate | seeds |",
        "|---" * 8 + "|",
    ]
    sign = -1 if cells[reference].language else 1
    order = sorted(cells, key=lambda row: -sign * cells[row].final())
    for row in order:
        found, gap = cells[row], gaps.get(row)
        text = ""
        if gap is not None:
            text = f"{sign * gap.mean:+.3f}" + (
                f" ± {gap.half:.3f}" if gap.known else ""
            )
            if p[row] < 0.05:
                text = f"**{text}**"
        lines.append(
            f"| {row} | {found.final():.3f} ± {found.deviation():.3f} "
            f"| {text} | {_number(found.smallest())} "
            f"| {_number(found.mean('client_accuracy_worst'))} "
            f"| {found.megabytes():.0f} | {found.rate:g} | {len(found.runs)} |"
        )
    return lines


def flatness(study: Study, task: str, setting: str, rows: Sequence[str]) -> float:
    """What the last half or third of the rounds adds, over rows and seeds."""
    gains = []
    for row in rows:
        found = cell(study, task, setting, row)
        for result in found.runs.values() if found else ():
            column = "loss" if found and found.language else "accuracy"
            curve = [(r["round"], r[column]) for r in result["rows"] if column in r]
            until = curve[-1][0] * 2 / 3
            gains.append(curve[-1][1] - [a for n, a in curve if n <= until][-1])
    return statistics.fmean(gains) if gains else 0.0


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    """Print the tables of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", default="strategies", choices=list(design.TABLES))
    parser.add_argument("--setting", default="skewed", choices=list(design.SETTINGS))
    parser.add_argument("--reference", default="")
    given = parser.parse_args()
    study = Study(given.out / "runs.jsonl")
    for task in dict.fromkeys(run.task for run in study.results):
        names = list(design.rows(given.table, task))
        reference = given.reference or names[0]
        lines = table(study, task, given.setting, names, reference)
        if lines:
            gain = flatness(study, task, given.setting, names)
            print(
                "\n".join(
                    [*lines, "", f"The last third of the rounds adds {gain:+.3f}.", ""]
                )
            )


if __name__ == "__main__":
    main()
