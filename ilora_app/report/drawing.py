"""Figures as inline SVG whose text and colours are those of the page around it."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ilora_app.report.tips import Tips

INK = "#010203"
"""Stands for the page's text colour."""

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#b8558f", "#56b4e9", "#c98a00", "#6e7781",
)  # fmt: skip
"""Each stands for a colour of the page, which has a light and a dark one for it."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


class Drawing:
    """One figure; ``svg`` is there when it has been drawn.

    Attributes:
        tips: what is said of places in it.

    """

    def __init__(self, figure: Figure, axes: Axes) -> None:
        self.figure, self.axes = figure, axes
        self.tips = Tips(axes)
        self.svg = ""


@contextmanager
def drawing(
    title: str, name: str, width: float = 5.0, height: float = 3.0
) -> Iterator[Drawing]:
    """Draw a figure with one pair of axes.

    Args:
        title: above it.
        name: of this figure alone on its page: ids within it are made of it.
        width: in inches, of which a page makes what it has room for.
        height: in inches.

    """
    # Matplotlib reads part of its style when it draws, and part when it writes.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        made = Drawing(figure, figure.add_subplot())
        made.axes.set_title(title)
        yield made
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
        svg = inline(file.getvalue(), title, name)
        made.svg = svg.removesuffix("</svg>") + f"{made.tips.svg()}\n</svg>"


def whole_rounds(axes: Axes) -> None:
    """Label the x axis with rounds."""
    axes.set_xlabel("round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))


def legend(axes: Axes, columns: int = 3) -> None:
    """Put the legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles and axes.figure:
        axes.figure.legend(
            handles, labels, loc="outside lower left", ncols=min(columns, len(handles))
        )


def shades(counts: Sequence[Sequence[float]]) -> list[list[tuple[float, ...]]]:
    """Colours of a table of numbers: the larger, the less one sees through them.

    Text in the page's colour stays readable on each of them.
    """
    most = max((value for row in counts for value in row), default=0) or 1
    return [[(0.0, 0.45, 0.70, 0.62 * v / most) for v in row] for row in counts]


def inline(svg: str, title: str, name: str) -> str:
    """Make an SVG file of matplotlib's fit into a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # A style of its own would hold for the whole page.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r' (?:width|height|xmlns|xmlns:xlink|version)="[^"]*"', "", svg, count=5
    )
    label = f'<svg role="img" aria-label="{escape(title)}"'
    svg = svg.replace("<svg", label + ' stroke-linejoin="round"', 1)
    svg = re.sub(rf"(fill|stroke): {INK}", r"\1: currentColor", svg)
    for number, colour in enumerate(COLOURS):
        svg = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--c{number})", svg)
    # Groups are named the same in every figure.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r"\n\s*", "\n", svg).strip()
