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

from ilora_app.compare.results import Spread, Summary, is_bound
from ilora_app.compare.sections import Section

# Okabe and Ito's colours, told apart with every kind of colour vision, without yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")
GREYS = ("#444444", "#777777", "#AAAAAA")


@dataclass(frozen=True)
class Style:
    """How the line of a row looks: its strategy's colour, dashed with settings."""

    colour: str
    dash: str
    marker: str


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
        names = groups.setdefault((is_bound(summary), key), [])
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
    looks = styles([s for section in sections for s in section.summaries])
    columns = min(len(sections), 3) or 1
    lines = math.ceil(len(sections) / columns) or 1
    legend_height = 0.19 * len(looks) + 0.5
    width, height = (7.0, 4.8) if len(sections) == 1 else (5.2, 3.8)
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
        rows = [*section.methods, *section.bounds]
        if not rows:
            axes.text(0.5, 0.5, "no finished run", ha="center", va="center")
        for summary in rows:
            handle = _line(axes, points(summary), looks[summary.name], log)
            handles.setdefault(summary.name, handle)
        if log and any(p.x > 0 for s in rows for p in points(s)):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif not log:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside right upper",
            fontsize=8,
            frameon=False,
        )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _line(axes: Axes, points: Sequence[Point], style: Style, log: bool) -> Artist:
    """Draw a row; one that sends nothing is a level line where x is what it sends."""
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
        linewidth=1.5,
    )
    low = [point.mean - point.std for point in points]
    high = [point.mean + point.std for point in points]
    axes.fill_between(x, low, high, color=style.colour, alpha=0.1, linewidth=0)
    return line
