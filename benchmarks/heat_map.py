"""Draws what every drift correction adds to a strategy, as a heat map.

python -m benchmarks.heat_map --runs RUNS --out FILE.svg --tasks clinc150,banking77
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from benchmarks.analysis import cell, difference
from benchmarks.design import TABLES
from benchmarks.recorded import Study
from ilora_app.compare.heat_map import text_on
from ilora_app.compare.intervals import Difference

STRATEGIES = ("ilora", "ilora, rest dropped", "fedit")
TABLE = "corrections"
COLOURS = "PuOr"


def added(study: Study, task: str, setting: str) -> dict[tuple[str, str], Difference]:
    """By strategy and correction: its score less that of the strategy without one."""
    found = {}
    for row in TABLES[TABLE]:
        strategy, plus, correction = row.partition(" + ")
        with_it = cell(study, task, setting, row)
        without = cell(study, task, setting, strategy)
        if plus and with_it and without:
            gap = difference(with_it, without)
            if gap and gap.known:
                found[strategy, correction] = gap
    return found


def draw(study: Study, setting: str, tasks: Sequence[str]) -> Figure:
    """A column for every strategy on a task where it has run, a row a correction.

    Cells hold the paired difference; it is in bold where its 95 % interval leaves out
    zero. A correction that a strategy cannot have is left blank.
    """
    gaps = {
        (correction, (task, strategy)): gap
        for task in tasks
        for (strategy, correction), gap in added(study, task, setting).items()
    }
    there = {column for _, column in gaps}
    columns = [(t, s) for t in tasks for s in STRATEGIES if (t, s) in there]
    rows = sorted(
        {correction for correction, _ in gaps},
        key=lambda c: -np.mean([gaps[c, k].mean for k in columns if (c, k) in gaps]),
    )
    shown = np.full((len(rows), len(columns)), np.nan)
    limit = max(0.01, *(abs(gap.mean) for gap in gaps.values()))
    scale = Normalize(-limit, limit)
    size = 1.2 + 1.45 * len(columns), 0.9 + 0.38 * len(rows)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for i, correction in enumerate(rows):
        for j, column in enumerate(columns):
            gap = gaps.get((correction, column))
            if gap is None:
                continue
            shown[i, j] = gap.mean
            weight = "bold" if gap.excludes_zero else "normal"
            text = f"{gap.mean:+.3f} ± {gap.half:.3f}"
            cell_colour = matplotlib.colormaps[COLOURS](scale(gap.mean))[:3]
            look = {"ha": "center", "va": "center", "size": 9, "weight": weight}
            axes.text(j, i, text, color=text_on(cell_colour), **look)
    drawn = axes.imshow(shown, cmap=COLOURS, norm=scale, aspect="auto")
    names = [f"{s}\n{task}".replace(", ", ",\n") for task, s in columns]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    figure.colorbar(drawn, label="accuracy that it adds")
    return figure


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--setting", default="skewed")
    parser.add_argument("--tasks", default="clinc150,banking77")
    given = parser.parse_args()
    matplotlib.rcParams["svg.hashsalt"] = "ilora"
    figure = draw(Study(given.runs), given.setting, given.tasks.split(","))
    figure.savefig(given.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
