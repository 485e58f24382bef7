"""Two plots as PNG: accuracy by round, and accuracy by megabytes sent."""

import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from ilora_app.compare.results import BOUND, Spread, Summary, kind_of
from ilora_app.compare.sections import Section
from ilora_app.report.line_ends import label_ends

# Okabe and Ito's colours, told apart with every kind of colour vision, without yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
GREYS = ("#444444", "#777777", "#AAAAAA")

# With more rows than these in a panel, the best ones alone have colours.
FEW, BEST = 10, 6


@dataclass(frozen=True)
class Style:
    """How the line of a row looks: its strategy's colour, dashed with settings."""

    colour: str
    dash: str
    marker: str


OTHERS = Style("#C8C8C8", "-", "")
"""Of rows that are not among the best, where there are many."""


@dataclass(frozen=True)
class Point:
    """Mean and deviation over seeds at one round."""

    x: float
    mean: float
    std: float


def curves(sections: Sequence[Section]) -> bytes:
    """Accuracy by round with its spread, a panel for each section."""
    return _plot(sections, "round", by_round, log=False)


def cost(sections: Sequence[Section]) -> bytes:
    """Accuracy by megabytes of training messages sent, a panel for each section."""
    return _plot(sections, "MB sent so far, all clients, both ways", by_megabytes, True)


def by_round(summary: Summary) -> list[Point]:
    """Mean accuracy at each round."""
    return [
        Point(number, spread.mean, spread.std)
        for number, spread in _accuracies(summary)
    ]


def by_megabytes(summary: Summary) -> list[Point]:
    """Mean accuracy at the mean of the megabytes sent up to each round."""
    sent = [dict(run.megabytes()) for run in summary.runs]
    return [
        Point(statistics.fmean(s[n] for s in sent if n in s), spread.mean, spread.std)
        for n, spread in _accuracies(summary)
    ]


def styles(summaries: Sequence[Summary]) -> dict[str, Style]:
    """A style for each row; rows of one strategy share a colour."""
    groups: dict[tuple[bool, str], list[str]] = {}
    for summary in summaries:
        fixed = summary.entry.preset.strategy is not None
        strategy = str(dict(summary.entry.row.changes)["strategy"])
        key = summary.name if fixed else strategy
        names = groups.setdefault((kind_of(summary) == BOUND, key), [])
        if summary.name not in names:
            names.append(summary.name)
    found = {}
    for bound, palette in ((False, COLOURS), (True, GREYS)):
        keys = [key for kind, key in groups if kind == bound]
        for i, key in enumerate(keys):
            # A row without settings is solid, whatever its place among the others.
            names = sorted(groups[bound, key], key=_has_settings)
            for j, name in enumerate(names, start=int(_has_settings(names[0]))):
                found[name] = Style(
                    palette[i % len(palette)],
                    DASHES[j % len(DASHES)],
                    MARKERS[(i // len(palette)) % len(MARKERS)],
                )
    return found


def _has_settings(name: str) -> bool:
    return "+" in name


def _accuracies(summary: Summary) -> list[tuple[int, Spread]]:
    values: dict[int, list[float]] = {}
    for run in summary.runs:
        for number, value in run.series("accuracy"):
            values.setdefault(number, []).append(value)
    return [
        (number, spread)
        for number in sorted(values)
        if (spread := Spread.of(values[number]))
    ]


def _plot(
    sections: Sequence[Section],
    label: str,
    points: Callable[[Summary], list[Point]],
    log: bool,
) -> bytes:
    many = max((len(s.shown) for s in sections), default=0) > FEW
    looks = styles(
        [s for section in sections for s in (drawn(section) if many else section.shown)]
    )
    # Names at the ends of lines need the width of a line of panels for themselves.
    ends = many and not log
    columns = 1 if ends else min(len(sections), 3) or 1
    lines = math.ceil(len(sections) / columns) or 1
    legend_height = 0 if ends else 0.19 * len(looks) + 0.5
    width, height = (7.0, 4.8) if len(sections) == 1 or ends else (5.2, 3.8)
    if ends:
        height = max(height, 0.17 * max(len(s.shown) for s in sections) + 1.0)
    figure = Figure(
        figsize=(width * columns + 2.6, max(height * lines, legend_height)),
        dpi=110,
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    handles: dict[str, Artist] = {}
    for i, section in enumerate(sections):
        axes = figure.add_subplot(lines, columns, i + 1)
        axes.set_title(section.name)
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy on the test split")
        axes.grid(alpha=0.25)
        rows = section.shown
        if not rows:
            axes.text(0.5, 0.5, "no finished run", ha="center", va="center")
        inside = {s.name for s in (drawn(section) if many else rows)}
        others = [s for s in rows if s.name not in inside]
        for summary in others:
            handles["others"] = _line(axes, points(summary), OTHERS, log)
        for summary in rows:
            if summary.name in inside:
                handle = _line(axes, points(summary), looks[summary.name], log)
                handles.setdefault(summary.name, handle)
        if log and any(p.x > 0 for s in rows for p in points(s)):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif not log:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if ends:
            found = {s.name: points(s)[-1] for s in rows if points(s)}
            colours = {name: looks[name].colour for name in inside}
            label_ends(axes, {n: (p.x, p.mean) for n, p in found.items()}, colours)
    if handles and not ends:
        others_last = {n: h for n, h in handles.items() if n != "others"}
        others_last |= {n: h for n, h in handles.items() if n == "others"}
        figure.legend(
            list(others_last.values()),
            list(others_last),
            loc="outside right upper",
            fontsize=8,
            frameon=False,
        )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def drawn(section: Section) -> list[Summary]:
    """Rows with a colour where there are many: the best ones, and the bounds."""
    return [*section.methods[:BEST], *section.bounds]


def _line(axes: Axes, points: Sequence[Point], style: Style, log: bool) -> Artist:
    """Draw a row; one that sends nothing is a level line where x is what it sends."""
    width = 1.0 if style == OTHERS else 1.5
    if log and points and points[-1].x == 0:
        return axes.axhline(
            points[-1].mean, color=style.colour, linestyle=style.dash, linewidth=1
        )
    points = [point for point in points if point.x > 0 or not log]
    x = [point.x for point in points]
    (line,) = axes.plot(
        x,
        [point.mean for point in points],
        color=style.colour,
        linestyle=style.dash,
        marker=style.marker,
        markersize=3,
        linewidth=width,
    )
    if style != OTHERS:
        low = [point.mean - point.std for point in points]
        high = [point.mean + point.std for point in points]
        axes.fill_between(x, low, high, color=style.colour, alpha=0.1, linewidth=0)
    return line
