"""Figures of a comparison: how good rows end, by round, and by megabytes sent."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ilora_app.compare.finished import Series, Spread
from ilora_app.compare.results import Summary
from ilora_app.compare.sections import Section, measure_of
from ilora_app.compare.styles import OTHERS, Style, styles
from ilora_app.report.drawing import INK
from ilora_app.report.line_ends import label_ends
from ilora_app.report.pictures import Picture
from ilora_app.report.tips import Tips

# With more rows than these in a panel, the best ones alone have styles of their own.
FEW, BEST = 20, 6
# With more rows than these, spreads along the lines would hide each other.
_BANDS, _ON = 4, "on the test split"
_WIDTH, _NAME = 7.2, 0.17


Panel = Callable[[Axes, Tips, Section, dict[str, Style]], None]
"""Draws a section into its panel."""


@dataclass(frozen=True)
class Point:
    """Mean and deviation over seeds at one round."""

    x: float
    mean: float
    std: float


def pictures(sections: Sequence[Section]) -> list[Picture]:
    """All figures, a panel for each section."""
    names = [max(len(section.shown), 1) for section in sections]
    heights = [max(3.4, _NAME * n + 1.2) for n in names]
    low = [max(1.2, 0.24 * n + 1.0) for n in names]
    lines = _WIDTH, sum(heights)
    measure = measure_of(sections)
    made: list[tuple[str, str, tuple[float, float], Panel, list[float]]] = [
        ("final", f"Final {measure}", (_WIDTH, sum(low)), _final, low),
        (
            "curves",
            f"{measure.capitalize()} by round",
            lines,
            partial(_lines, log=False),
            heights,
        ),
        (
            "cost",
            f"{measure.capitalize()} by megabytes sent",
            lines,
            partial(_lines, log=True),
            heights,
        ),
    ]
    return [
        Picture(name, title, size, partial(_panels, sections, kind, ratios))
        for name, title, size, kind, ratios in made
    ]


def by_round(summary: Summary) -> list[Point]:
    """How good a row is at each round, a mean over its seeds."""
    return [
        Point(number, spread.mean, spread.std) for number, spread in _scores(summary)
    ]


def by_megabytes(summary: Summary) -> list[Point]:
    """The same at the mean of the megabytes sent up to each round."""
    scores = _scores(summary)
    sent = _going_on([run.megabytes() for run in summary.runs], dict(scores))
    return [
        Point(statistics.fmean(sent[n]), spread.mean, spread.std)
        for n, spread in scores
    ]


def trained(points: Sequence[Point], numbers: Sequence[Point]) -> list[Point]:
    """Leave out round 0, whose value would squeeze all others; alone it stays."""
    kept = [p for p, at in zip(points, numbers, strict=True) if at.x > 0]
    return kept or list(points)


def drawn(section: Section) -> list[Summary]:
    """Rows with a style of their own: all, or of many the best ones and the bounds."""
    if len(section.shown) <= FEW:
        return section.shown
    return [*section.methods[:BEST], *section.bounds]


def _scores(summary: Summary) -> list[tuple[int, Spread]]:
    series = [run.scores for run in summary.runs]
    rounds = sorted({number for one in series for number, _ in one})
    found = _going_on(series, rounds)
    return [(n, spread) for n in rounds if (spread := Spread.of(found[n]))]


def _going_on(
    series: Sequence[Series], rounds: Iterable[int]
) -> dict[int, list[float]]:
    """Values at each round; of a run that ended before, what it ended with.

    Without it a line would leave the seeds that ended early, and end with the others.
    """
    known = [(dict(one), one[-1]) for one in series if one]
    return {
        number: [
            values.get(number, value)
            for values, (end, value) in known
            if number in values or number > end
        ]
        for number in rounds
    }


def _panels(
    sections: Sequence[Section],
    kind: Panel,
    heights: Sequence[float],
    figure: Figure,
) -> list[Tips]:
    looks = styles([s for section in sections for s in drawn(section)])
    panels = figure.subplots(
        max(len(sections), 1), 1, squeeze=False, height_ratios=heights or None
    )
    tips = []
    for axes, section in zip(panels[:, 0], sections, strict=False):
        axes.set_title(section.title, wrap=True)
        if not section.shown:
            axes.text(0.5, 0.5, "no finished run", ha="center", va="center")
        tips.append(Tips(axes))
        kind(axes, tips[-1], section, looks)
    return tips


def _lines(
    axes: Axes, tips: Tips, section: Section, looks: dict[str, Style], *, log: bool
) -> None:
    """Draw every row by round, or by megabytes, with its name at its end."""
    axes.set_ylabel(f"{section.measure} {_ON}")
    axes.set_xlabel("MB sent so far, all clients, both ways" if log else "round")
    rows = {}
    for summary in section.shown:
        numbers = by_round(summary)
        rows[summary.name] = trained(by_megabytes(summary) if log else numbers, numbers)
    rows = {name: points for name, points in rows.items() if points}
    longest = max((len(points) for points in rows.values()), default=0)
    level = {
        name
        for name, points in rows.items()
        if len(points) == 1 < longest or (log and points[-1].x == 0)
    }
    order = sorted(rows, key=lambda name: name in looks)
    for name in order:
        look = looks.get(name, OTHERS)
        last = rows[name][-1]
        if name in level:
            axes.axhline(last.mean, color=look.colour, linestyle=look.dash, linewidth=1)
            continue
        _line(axes, rows[name], look, len(rows) <= _BANDS)
        for number, point in enumerate(rows[name], start=1):
            at = f"round {number}" if log else f"round {point.x:g}"
            more = f" at {point.x:.3g} MB" if log else ""
            said = f"{name}, {at}: {point.mean:.4f} ± {point.std:.4f}{more}"
            tips.point(point.x, point.mean, said)
    if log and len(level) < len(rows):
        drawn = [p.x for name in rows.keys() - level for p in rows[name] if p.x > 0]
        _magnitudes(axes, max(drawn) / min(drawn))
    elif not log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = axes.get_xlim()[1]
    ends = {
        name: (right if name in level else points[-1].x, points[-1].mean)
        for name, points in rows.items()
    }
    colours = {name: looks[name].colour for name in ends if name in looks}
    height = max(3.4, _NAME * len(ends) + 1.2) - 0.8
    label_ends(axes, ends, colours, INK, _NAME / height)


def _magnitudes(axes: Axes, ratio: float) -> None:
    """Make the axis of x logarithmic, with several numbers at it at any ratio."""
    if ratio < 2:  # of neighbours
        return
    axes.set_xscale("log")
    subs = (1,) if ratio > 1000 else (1, 2, 5) if ratio > 10 else range(1, 10)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, points: Sequence[Point], look: Style, band: bool) -> None:
    """Draw a row, with the deviation of its last value as a bar."""
    x, last = [point.x for point in points], points[-1]
    axes.plot(
        x,
        [point.mean for point in points],
        color=look.colour,
        linestyle=look.dash,
        linewidth=1.0 if look == OTHERS else 1.5,
        alpha=0.5 if look == OTHERS else 1.0,
        marker=look.marker,
        markersize=4,
        markevery=max(len(points) // 8, 1),
    )
    if look == OTHERS:
        return
    if last.std:
        axes.errorbar(
            [last.x], [last.mean], [last.std], color=look.colour, capsize=3,
            elinewidth=1.2, fmt="none",
        )  # fmt: skip
    if band:
        low = [point.mean - point.std for point in points]
        high = [point.mean + point.std for point in points]
        axes.fill_between(x, low, high, color=look.colour, alpha=0.1, linewidth=0)


def _final(axes: Axes, tips: Tips, section: Section, looks: dict[str, Style]) -> None:
    """Draw how good every row ends: mean, deviation, and each seed."""
    rows = [(s, final) for s in reversed(section.shown) if (final := s.final)]
    for place, (summary, final) in enumerate(rows):
        look = looks.get(summary.name, OTHERS)
        values = [v for run in summary.runs if (v := run.score) is not None]
        axes.plot(values, [place] * len(values), "|", color=look.colour, markersize=8)
        axes.errorbar(
            [final.mean], [place], xerr=[final.std], color=look.colour,
            marker=look.marker or "o", markersize=5, capsize=3, linestyle="none",
        )  # fmt: skip
        said = f"{summary.name}: {final.mean:.4f} ± {final.std:.4f}, {final.n} seeds"
        tips.point(final.mean, place, said)
    axes.set_yticks(range(len(rows)), [s.name for s, _ in rows])
    axes.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_xlabel(f"{section.measure} {_ON}\n(bars: deviation, strokes: seeds)")
