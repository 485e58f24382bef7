"""Table and plot of the comparison under differential privacy.

    python -m benchmarks.private_table --out DIR [--unit client] [--plot FILE.svg]

Losses are in nats a token of the answer, on test rows, after the last round: less is
better. A row's difference to ilora is paired by seed, which is that of the data's
split and of the start; noise has none.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.private import Record
from benchmarks.private_design import LEVELS, TASKS, UNITS
from benchmarks.recorded import score
from ilora_app.compare.intervals import Difference, holm, over_seeds

REFERENCE = "ilora"
LOOKS = {
    "ilora": "o-",
    "ilora-qr": "D--",
    "flexlora": "v--",
    "fedit": "s-.",
    "ffa-lora": "^:",
    "fedavg-full": "x:",
}


def losses(record: Record, task: str, row: str, level: str) -> dict[int, float]:
    """Final loss by seed, at the rate and the clip that are chosen."""
    best, _ = record.chosen(task, row, level)
    found = {}
    for run, result in record.results.items():
        if best is None or (run.task, run.row, run.level) != (task, row, level):
            continue
        final = score(result)
        if (run.rate, run.clip) == (best.rate, best.clip) and run.seed >= 0:
            found[run.seed] = math.inf if final is None else -final
    return dict(sorted(found.items()))


def untrained(record: Record, task: str) -> float:
    """Loss before round 1, the same in all runs of a task but for what they test on."""
    first = [
        result["rows"][0]["loss"]
        for run, result in record.results.items()
        if run.task == task and run.seed >= 0 and result.get("rows")
    ]
    return statistics.fmean(first)


def gaps(
    record: Record, task: str, rows: Sequence[str], levels: Sequence[str]
) -> dict[tuple[str, str], tuple[Difference, float]]:
    """By row and level: its loss less that of ilora, and p, corrected for all of them.

    Of two seeds and more.
    """
    found = {}
    for row in (row for row in rows if row != REFERENCE):
        for level in levels:
            one, other = (losses(record, task, r, level) for r in (row, REFERENCE))
            if len(both := sorted(one.keys() & other.keys())) > 1:
                found[row, level] = over_seeds([one[s] - other[s] for s in both])
    p = holm([gap.p for gap in found.values()])
    return dict(zip(found, zip(found.values(), p, strict=True), strict=True))


def run_of(record: Record, task: str) -> list[str]:
    """Rows of which there are runs with their rate and clip, in their order."""
    levels = {
        row: [losses(record, task, row, v) for v in LEVELS] for row in record.unit.rows
    }
    return [row for row, found in levels.items() if any(found)]


def table(record: Record, task: str) -> list[str]:
    """Lines of Markdown: a row each, with what it is above ilora below its loss."""
    rows = run_of(record, task)
    found = gaps(record, task, rows, LEVELS)
    levels = [f"epsilon {v}" if v != "none" else "no noise" for v in LEVELS]
    lines = [f"| {task} | rate, clip | {' | '.join(levels)} |", "|---" * 7 + "|"]
    for row in rows:
        best, _ = record.chosen(task, row, "4")
        how = f"{best.rate:g}, {best.clip:g}" if best else ""
        cells, below = [], []
        for level in LEVELS:
            ends = list(losses(record, task, row, level).values())
            spread = statistics.stdev(ends) if len(ends) > 1 else math.nan
            cells.append(f"{statistics.fmean(ends):.3f} ± {spread:.3f}" if ends else "")
            gap, p = found.get((row, level), (None, 1.0))
            below.append("" if gap is None else f"**{gap}**" if p < 0.05 else str(gap))
        lines.append(f"| {row} | {how} | {' | '.join(cells)} |")
        if row != REFERENCE:
            lines.append(f"| less {REFERENCE} | | {' | '.join(below)} |")
    return lines


def draw(record: Record, tasks: Sequence[str]) -> Figure:
    """Loss against epsilon, a panel for each task, with 95 % intervals over seeds.

    What ends above where it began, its mean at least, is not drawn.
    """
    figure = Figure(figsize=(3.6 * len(tasks), 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        began = untrained(record, task)
        axes.axhline(began, color="0.6", linewidth=1)
        for number, row in enumerate(run_of(record, task)):
            ends = [list(losses(record, task, row, v).values()) for v in LEVELS]
            found = {i: over_seeds(v) for i, v in enumerate(ends) if len(v) > 1}
            there = [i for i, loss in found.items() if loss.mean < began]
            means = [found[i] for i in there]
            axes.errorbar(
                [i + 0.05 * (number - 2.5) for i in there],
                [m.mean for m in means],
                yerr=[m.half for m in means],
                fmt=LOOKS[row],
                capsize=2,
                markersize=4,
                label=row,
            )
        axes.set_xticks(range(len(LEVELS)), [*LEVELS[:-1], "no noise"])
        axes.set_xlabel("epsilon")
        axes.set_title(task, size="medium")
    panels[0].set_ylabel("test loss, nats a token")
    drawn = panels[0].get_legend_handles_labels()
    figure.legend(
        *drawn, loc="outside upper center", ncols=3 * len(tasks), frameon=False
    )
    return figure


def main() -> None:
    """Print the table of every task that has runs; draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unit", choices=UNITS, default="client")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    unit = UNITS[given.unit]
    record = Record(given.out / unit.file, unit)
    tasks = [t for t in TASKS if any(run.task == t for run in record.results)]
    for task in tasks:
        print("\n".join(table(record, task)))
        run = [r for run, r in record.results.items() if run.task == task]
        hours = sum(result.get("seconds", 0.0) for result in run) / 3600
        print(f"\nuntrained {untrained(record, task):.3f}")
        print(f"{len(run)} runs, {hours:.1f} hours\n")
    if given.plot:
        matplotlib.rcParams["svg.hashsalt"] = "ilora"
        draw(record, tasks).savefig(given.plot, metadata={"Date": None})


if __name__ == "__main__":
    main()
