"""The kinds of chart that a report is made of: lines, values by rank, stacked bars."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from ilora_app.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    Drawing,
    drawing,
    legend,
    whole_rounds,
)
from ilora_app.report.reading import RunData, Series

NAMES = 30
"""So many rows or columns can be named beside a plot."""

_MARKED, _SHORT = 15, 3


def lines(
    run: RunData,
    title: str,
    name: str,
    lines: Sequence[tuple[str, str, int, int]],
    label: str = "",
    more: Sequence[tuple[str, Series, int, int]] = (),
) -> str:
    """Draw columns of metrics.csv, (label, column, colour, dash), and more series."""
    found = [(text, run.series(key), c, d) for text, key, c, d in lines] + list(more)
    found = [entry for entry in found if entry[1]]
    if not found:
        return ""
    with drawing(title, name) as made:
        for text, series, colour, dash in found:
            line(made, series, colour, dash, text)
        whole_rounds(made.axes)
        made.axes.set_ylabel(label)
        legend(made.axes)
    return made.svg


def by_rank(run: RunData, column: str, title: str, label: str) -> str:
    """Draw a column of each rank: over the rounds, or its one value by rank."""
    found = {rank: series for rank, series in run.by_rank(column).items() if series}
    if not found:
        return ""
    with drawing(title, column + "-by-rank") as made:
        if all(len(series) == 1 for series in found.values()):
            names = [str(rank) for rank in found]
            values = [series[0][1] for series in found.values()]
            for place, (name, value) in enumerate(zip(names, values, strict=True)):
                made.tips.point(place, value, f"rank {name}: {value:.4f}")
            made.axes.plot(names, values, "o", color=COLOURS[0], markersize=7)
            for name, value in zip(names, values, strict=True):
                made.axes.annotate(
                    f"{value:.3f}", (name, value), (0, 8), ha="center",
                    textcoords="offset points",
                )  # fmt: skip
            made.axes.margins(x=0.15, y=0.3)
            made.axes.set_xlabel("rank")
        else:
            for place, (rank, series) in enumerate(found.items()):
                line(made, series, place, place, f"rank {rank}")
            whole_rounds(made.axes)
            legend(made.axes, 4)
        made.axes.set_ylabel(label)
    return made.svg


def bars(
    run: RunData,
    title: str,
    label: str,
    parts: Sequence[tuple[str, ...]],
    scale: float,
) -> str:
    """Draw (label, columns of metrics.csv) on top of each other.

    Round 0 is there where it has any of them.
    """
    used = [
        (place, text, keys)
        for place, (text, *keys) in enumerate(parts)
        if run.total(*keys)
    ]
    found = {
        int(row["round"]): row
        for row in run.rounds
        if row["round"] > 0 or any(row.get(key) for _, _, keys in used for key in keys)
    }
    numbers = list(found)
    if not used or not numbers:
        return ""
    with drawing(title, used[0][2][0]) as made:
        base = [0.0] * len(numbers)
        for place, text, keys in used:
            values = [scale * sum(r.get(k, 0.0) for k in keys) for r in found.values()]
            made.axes.bar(
                numbers, values, bottom=base, label=text, width=0.75,
                color=COLOURS[place], edgecolor="none",
            )  # fmt: skip
            for number, low, value in zip(numbers, base, values, strict=True):
                said = f"{text}, round {number}: {value:.3g} {label}"
                corners = (number - 0.375, low), (number + 0.375, low + value)
                made.tips.box(*corners, said)
            base = [low + more for low, more in zip(base, values, strict=True)]
        made.axes.set_ylabel(label)
        whole_rounds(made.axes)
        legend(made.axes, 2)
    return made.svg


def line(
    made: Drawing,
    series: Series,
    colour: int,
    dash: int,
    label: str,
    mark: int | None = None,
    named: bool = True,
) -> None:
    """Draw one series, with markers where there is room for them.

    Args:
        made: to draw in.
        series: (round, value).
        colour, dash, mark: numbers of each; None marks by colour.
        label: in the legend, and of its values.
        named: it stands in the legend.

    """
    sign = MARKERS[(colour if mark is None else mark) % len(MARKERS)]
    made.axes.plot(
        [number for number, _ in series],
        [value for _, value in series],
        color=COLOURS[colour % len(COLOURS)],
        linestyle=DASHES[dash % len(DASHES)],
        marker=sign if len(series) <= _MARKED else "",
        label=label if named else None,
    )
    for number, value in series:
        made.tips.point(number, value, f"{label}, round {number}: {value:.4g}")


def ticks(axes: Axes, across: Sequence[str], down: Sequence[str]) -> None:
    """Name as many rows and columns as can be read."""
    longest = max(map(len, across), default=0)
    room = 2 * NAMES if longest > _SHORT else NAMES
    step = -(-len(across) // room)
    places = range(0, len(across), step)
    turned = 90 if longest > _SHORT else 0
    axes.set_xticks(places, [across[i] for i in places], color=INK, rotation=turned)
    step = -(-len(down) // NAMES)
    places = range(0, len(down), step)
    axes.set_yticks(places, [down[i] for i in places], color=INK)
    axes.tick_params(length=0)
