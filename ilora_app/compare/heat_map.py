"""A heat map of what each value of a setting is worth to each strategy."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure

from ilora_app.compare.grid import Grid
from ilora_app.compare.sections import Section, measure_of
from ilora_app.report.pictures import DPI

# Blue is better and orange worse: told apart with every kind of colour vision.
_COLOURS = "PuOr"
_LEAST = 0.01
"""Differences below this are never shown in full colour."""


def text_on(colour: Any) -> str:
    """Black or white, whichever can be told better from a colour: WCAG's contrast."""
    parts = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(colour)
    )
    luminance = sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
    # (1 + 0.05) / (L + 0.05) over (L + 0.05) / 0.05
    return "white" if (luminance + 0.05) ** 2 < 1.05 * 0.05 else "black"


def draw(
    grid: Grid, sections: Sequence[Section], kinds: Sequence[str] = ("png",)
) -> dict[str, bytes]:
    """A panel for each section, by kind of file; bold: an interval excludes zero."""
    values = grid.values[1:]
    heights = [max(len(grid.strategies(section)), 1) for section in sections]
    size = (2.5 + 1.35 * len(values), 1.5 + sum(1.2 + 0.5 * h for h in heights))
    figure = Figure(figsize=size, layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sections), 1, squeeze=False, height_ratios=heights)
    found = [grid.differences(section) for section in sections]
    largest = max([_LEAST, *(abs(d.mean) for f in found for d in f.values())])
    norm = TwoSlopeNorm(0.0, -largest, largest)
    image = None
    for axes, section, cells in zip(panels[:, 0], sections, found, strict=True):
        rows = grid.strategies(section)
        nothing = float("nan")
        shaped = [
            [c.mean if (c := cells.get((row, value))) else nothing for value in values]
            for row in rows
        ]
        if shaped:
            image = axes.imshow(shaped, cmap=_COLOURS, norm=norm, aspect="auto")
        for (row, value), cell in cells.items():
            axes.text(
                values.index(value),
                rows.index(row),
                str(cell).replace(" ± ", "\n± "),
                ha="center",
                va="center",
                fontsize=7,
                color=text_on(colormaps[_COLOURS](norm(cell.mean))[:3]),
                weight="bold" if cell.excludes_zero else "normal",
            )
        axes.set_xticks(range(len(values)), values, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_title(section.name, fontsize=9, loc="left")
    if image is not None:
        label = f"{measure_of(sections)} less that of {grid.key} = {grid.values[0]}"
        figure.colorbar(image, ax=panels[:, 0].tolist(), label=label)
    made = {}
    for kind in kinds:
        file = io.BytesIO()
        figure.savefig(file, format=kind)
        made[kind] = file.getvalue()
    return made
