"""The plots of a report: each takes what was read of a run and returns SVG, or ""."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from ilora_app.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    MARKERS,
    drawing,
    legend,
    shades,
    whole_rounds,
)
from ilora_app.report.reading import RunData, Series

# More cells than this are read by their shade alone, more lines by their rank.
_CELLS, _NAMES = 14, 30
_DECADES, _MARKED = 20, 15

FEW = 8
"""So many clients have room in a narrow plot."""


def accuracy(run: RunData) -> str:
    """Draw accuracy of the global model, and of the clients on held-out data."""
    lines = [
        ("test split", "accuracy", 0, 0),
        ("exact match", "exact_match", 4, 0),
        ("clients, mean", "client_accuracy_mean", 1, 1),
        ("worst client", "client_accuracy_worst", 3, 2),
    ]
    return _lines(run, "Accuracy", "accuracy", lines)


def loss(run: RunData) -> str:
    """Draw the losses: on the test split, held-out, and in training."""
    lines = [
        ("test split", "loss", 0, 0),
        ("clients, held out", "client_loss_mean", 1, 1),
        ("training", "train_loss", 2, 2),
    ]
    return _lines(run, "Loss", "loss", lines)


def drift(run: RunData) -> str:
    """Draw how far client updates lie from their mean."""
    lines = [("weights", "drift", 0, 0), ("head", "drift_head", 1, 1)]
    return _lines(run, "Client drift", "drift", lines, label="Frobenius norm")


def accuracy_by_rank(run: RunData) -> str:
    """Draw accuracy of what a client of each rank holds, on the test split."""
    return _by_rank(run, "accuracy", "Accuracy at each rank", "accuracy")


def energy(run: RunData) -> str:
    """Draw the part of an aggregate that the cut to each rank keeps."""
    return _by_rank(run, "energy_kept", "Energy kept by rank", "part of ‖D‖²")


def clients(run: RunData) -> str:
    """Draw accuracy of every client on its held-out data; colours are ranks."""
    found = [(client.rank, client.accuracy) for client in run.clients()]
    found = [(rank, series) for rank, series in found if series]
    if not found:
        return ""
    ranks = sorted({rank for rank, _ in found})
    with drawing("Accuracy of each client, held out", "clients") as made:
        named: set[int] = set()
        for rank, series in found:
            label = None if rank in named else f"rank {rank}"
            _line(made.axes, series, ranks.index(rank), 0, label)
            named.add(rank)
        whole_rounds(made.axes)
        legend(made.axes, 4)
    return made.svg


def classes(run: RunData) -> str:
    """Draw which partition holds how many of which class."""
    event = run.last("class-counts")
    counts, names = event.get("counts"), event.get("classes")
    if not counts or not names:
        return ""
    rows = [list(row) for row in zip(*counts, strict=True)]
    across = [str(number) for number in range(len(counts))]
    down = [name if len(name) < 24 else f"{name[:22]}…" for name in names]
    height = 1.0 + max(0.2 * min(len(down), _NAMES), 1.2)
    width = 4.4 if len(across) <= FEW else 8.0
    title = "Examples by class and client"
    with drawing(title, "classes", width, height) as made:
        axes = made.axes
        axes.imshow(shades(rows), aspect="auto", interpolation="nearest")
        axes.grid(False)
        axes.set_xlabel("client")
        _ticks(axes, across, down)
        if len(across) <= _CELLS and len(down) <= _NAMES:
            for y, row in enumerate(rows):
                for x, value in enumerate(row):
                    axes.text(x, y, str(value), ha="center", va="center", size=7.5)
    return made.svg


def spectra(run: RunData) -> str:
    """Draw the singular values of the global update, a line a layer."""
    layers = run.last("singular-values").get("layers", {})
    layers = {name: [v for v in x["values"] if v > 0] for name, x in layers.items()}
    layers = {name: values for name, values in layers.items() if values}
    if not layers:
        return ""
    kinds = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in layers))
    with drawing("Singular values by layer", "spectra") as made:
        named: set[int] = set()
        for name, values in layers.items():
            place = kinds.index(name.rsplit(".", 1)[-1])
            made.axes.plot(
                range(1, len(values) + 1),
                values,
                color=COLOURS[place % len(COLOURS)],
                linestyle=DASHES[place % len(DASHES)],
                linewidth=1.0,
                alpha=0.75,
                label=None if place in named else kinds[place],
            )
            named.add(place)
        everything = [value for values in layers.values() for value in values]
        if max(everything) > _DECADES * min(everything):
            made.axes.set_yscale("log")
            made.axes.yaxis.set_major_formatter("{x:g}")
            made.axes.yaxis.set_minor_formatter(NullFormatter())
        whole_rounds(made.axes)
        made.axes.set_xlabel("direction")
        made.axes.set_ylabel("singular value")
        legend(made.axes)
    return made.svg


def traffic(run: RunData) -> str:
    """Draw megabytes by round and part."""
    parts = [
        ("training, down", "bytes_down"),
        ("training, up", "bytes_up"),
        ("evaluation, down", "bytes_down_evaluate"),
        ("evaluation, up", "bytes_up_evaluate"),
    ]
    return _bars(run, "Megabytes by round, all clients", "MB", parts, 1e-6)


def seconds(run: RunData) -> str:
    """Draw seconds by round and part."""
    parts = [
        ("training", "seconds_train"),
        ("aggregation", "seconds_aggregate"),
        ("evaluation", "seconds_evaluate"),
    ]
    return _bars(run, "Seconds by round", "s", parts, 1.0)


def _lines(
    run: RunData,
    title: str,
    name: str,
    lines: Sequence[tuple[str, str, int, int]],
    label: str = "",
) -> str:
    """Draw columns of metrics.csv: (label, column, colour, dash) each."""
    found = [(text, run.series(key), c, d) for text, key, c, d in lines]
    found = [entry for entry in found if entry[1]]
    if not found:
        return ""
    with drawing(title, name) as made:
        for text, series, colour, dash in found:
            _line(made.axes, series, colour, dash, text)
        whole_rounds(made.axes)
        made.axes.set_ylabel(label)
        legend(made.axes)
    return made.svg


def _by_rank(run: RunData, column: str, title: str, label: str) -> str:
    found = {rank: series for rank, series in run.by_rank(column).items() if series}
    if not found:
        return ""
    with drawing(title, column + "-by-rank") as made:
        if all(len(series) == 1 for series in found.values()):
            names = [str(rank) for rank in found]
            values = [series[0][1] for series in found.values()]
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
                _line(made.axes, series, place, place, f"rank {rank}")
            whole_rounds(made.axes)
            legend(made.axes, 4)
        made.axes.set_ylabel(label)
    return made.svg


def _bars(
    run: RunData,
    title: str,
    label: str,
    parts: Sequence[tuple[str, str]],
    scale: float,
) -> str:
    """Draw columns of metrics.csv on top of each other."""
    numbers = [int(row["round"]) for row in run.rounds if row["round"] > 0]
    used = [part for part in parts if run.total(part[1])]
    if not used or not numbers:
        return ""
    with drawing(title, used[0][1]) as made:
        base = [0.0] * len(numbers)
        for text, key in used:
            found = dict(run.series(key))
            values = [scale * found.get(number, 0.0) for number in numbers]
            place = [part[1] for part in parts].index(key)
            made.axes.bar(
                numbers, values, bottom=base, label=text, width=0.75,
                color=COLOURS[place], edgecolor="none",
            )  # fmt: skip
            base = [low + more for low, more in zip(base, values, strict=True)]
        made.axes.set_ylabel(label)
        whole_rounds(made.axes)
        legend(made.axes, 2)
    return made.svg


def _line(
    axes: Axes, series: Series, colour: int, dash: int, label: str | None
) -> None:
    axes.plot(
        [number for number, _ in series],
        [value for _, value in series],
        color=COLOURS[colour % len(COLOURS)],
        linestyle=DASHES[dash % len(DASHES)],
        marker=MARKERS[colour % len(MARKERS)] if len(series) <= _MARKED else "",
        label=label,
    )


def _ticks(axes: Axes, across: Sequence[str], down: Sequence[str]) -> None:
    """Name as many rows and columns as can be read."""
    step = -(-len(across) // _NAMES)
    places = range(0, len(across), step)
    axes.set_xticks(places, [across[i] for i in places], color=INK)
    step = -(-len(down) // _NAMES)
    places = range(0, len(down), step)
    axes.set_yticks(places, [down[i] for i in places], color=INK)
    axes.tick_params(length=0)
