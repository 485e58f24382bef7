"""Draws the differences of a table of the study to its reference, with intervals.

python -m benchmarks.figure --runs RUNS --out FILE.svg --tasks clinc150,banking77
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.analysis import cell, difference
from benchmarks.design import TABLES
from benchmarks.recorded import Study

MARKS = ("o", "s", "D")


def draw(study: Study, table: str, setting: str, tasks: Sequence[str]) -> Figure:
    """A line for every row that has run with all seeds on all tasks, best on top."""
    rows = list(TABLES[table])
    reference = rows[0]
    found = {}
    for row in rows[1:]:
        pairs = [
            (cell(study, t, setting, row), cell(study, t, setting, reference))
            for t in tasks
        ]
        gaps = [difference(a, b) for a, b in pairs if a and b]
        if len(gaps) == len(tasks) and all(g and g.seeds > 2 for g in gaps):
            found[row] = [g for g in gaps if g]
    order = sorted(found, key=lambda row: sum(g.mean for g in found[row]))
    figure = Figure(figsize=(7, 0.9 + 0.32 * len(order)), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.axvline(0, color="0.6", linewidth=1)
    for number, task in enumerate(tasks):
        gaps = [found[row][number] for row in order]
        axes.errorbar(
            [g.mean for g in gaps],
            [i + 0.25 * (0.5 - number) for i in range(len(order))],
            xerr=[g.half for g in gaps],
            fmt=MARKS[number],
            capsize=3,
            markersize=5,
            label=task,
        )
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel(f"test accuracy less that of {reference}, 95 % intervals")
    figure.legend(loc="outside upper center", ncols=len(tasks), frameon=False)
    return figure


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", default="strategies", choices=list(TABLES))
    parser.add_argument("--setting", default="skewed")
    parser.add_argument("--tasks", default="clinc150,banking77")
    given = parser.parse_args()
    matplotlib.rcParams["svg.hashsalt"] = "ilora"
    tasks = given.tasks.split(",")
    figure = draw(Study(given.runs), given.table, given.setting, tasks)
    figure.savefig(given.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
