"""The plots of a report: each takes what was read of a run and returns SVG, or ""."""

from itertools import count

from matplotlib.ticker import NullFormatter

from ilora_app.report import charts
from ilora_app.report.charts import NAMES
from ilora_app.report.drawing import (
    COLOURS,
    DASHES,
    INK,
    drawing,
    legend,
    shades,
    whole_rounds,
)
from ilora_app.report.line_ends import label_ends
from ilora_app.report.reading import RunData
from ilora_app.runs.class_scores import ByClass

# More cells than this are read by their shade alone, more lines by their rank.
_CELLS, _DECADES = 14, 20

# More values than these would make a page of megabytes.
_TIPS = 4000

FEW = 8
"""So many clients have room in a narrow plot."""

NARROW, WIDE = 5.0, 10.2
"""Inches of a plot that takes one column of a page, and both."""


def accuracy(run: RunData) -> str:
    """Draw accuracy of the global model, and of the clients on held-out data."""
    lines = [
        ("test split", "accuracy", 0, 0),
        ("exact match", "exact_match", 4, 0),
        ("clients, mean", "client_accuracy_mean", 1, 1),
        ("worst client", "client_accuracy_worst", 3, 2),
    ]
    return charts.lines(run, "Accuracy", "accuracy", lines)


def loss(run: RunData) -> str:
    """Draw the losses: on the test split, held-out, and in training."""
    lines = [
        ("test split", "loss", 0, 0),
        ("clients, held out", "client_loss_mean", 1, 1),
        ("training", "train_loss", 2, 2),
    ]
    return charts.lines(run, "Loss", "loss", lines)


def drift(run: RunData, other: RunData | None = None) -> str:
    """Draw how far client updates lie from their mean, and of another run beside it."""
    lines = [("weights", "drift", 0, 0), ("head", "drift_head", 1, 1)]
    beside = [("weights, beside", "drift", 4, 2), ("head, beside", "drift_head", 3, 3)]
    found = [(text, other.series(key), c, d) for text, key, c, d in beside if other]
    return charts.lines(
        run, "Client drift", "drift", lines, "distance (Frobenius norm)", found
    )


def accuracy_by_rank(run: RunData) -> str:
    """Draw accuracy of what a client of each rank holds, on the test split."""
    return charts.by_rank(run, "accuracy", "Accuracy at each rank", "accuracy")


def energy(run: RunData) -> str:
    """Draw the part of an aggregate that the cut to each rank keeps."""
    return charts.by_rank(
        run, "energy_kept", "Energy kept by rank", "part of what was learned"
    )


def clients(run: RunData) -> str:
    """Draw accuracy of every client on its held-out data, each with its name.

    Colours are ranks; clients of one rank differ in dash and marker. Of many clients
    the best and the worst have names.
    """
    found = [client for client in run.clients() if client.accuracy]
    if not found:
        return ""
    ranks = sorted({client.rank for client in found})
    places = {rank: count() for rank in ranks}
    last = sorted(found, key=lambda client: client.accuracy[-1][1])
    named = last if len(last) <= NAMES else [*last[: NAMES // 2], *last[-NAMES // 2 :]]
    height = max(3.0, 0.16 * len(named) + 1.0)
    title = "Accuracy of each client, held out"
    with drawing(title, "clients", height=height) as made:
        ends: dict[str, tuple[float, float]] = {}
        colours: dict[str, str] = {}
        for client in found:
            colour, place = ranks.index(client.rank), next(places[client.rank])
            label = f"{cut(client.name, 20)}, rank {client.rank}"
            charts.line(made, client.accuracy, colour, place, label, place, False)
            if client in named:
                label = label if label not in ends else f"{label} ({len(ends)})"
                ends[label] = client.accuracy[-1]
                colours[label] = COLOURS[colour % len(COLOURS)]
        whole_rounds(made.axes)
        made.axes.set_ylabel("accuracy")
        label_ends(made.axes, ends, colours, INK, 0.16 / (height - 0.7))
    return made.svg


def classes(run: RunData) -> str:
    """Draw which partition holds how many of which class."""
    event = run.last("class-counts")
    counts, names = event.get("counts"), event.get("classes")
    if not counts or not names:
        return ""
    rows = [list(row) for row in zip(*counts, strict=True)]
    across = [str(number) for number in range(len(counts))]
    down = [cut(name) for name in names]
    said = [
        [f"{name}, client {x}: {value}" for x, value in enumerate(row)]
        for name, row in zip(down, rows, strict=True)
    ]
    # Many classes lie along the width of the page.
    along = len(down) > NAMES
    if along:
        rows = [list(row) for row in counts]
        said = [list(row) for row in zip(*said, strict=True)]
        across, down = down, across
    height = 1.0 + max(0.2 * min(len(down), NAMES), 1.2) + 1.2 * along
    width = NARROW if len(across) <= FEW else WIDE
    title = "Examples by class and client"
    with drawing(title, "classes", width, height) as made:
        axes = made.axes
        axes.imshow(shades(rows), aspect="auto", interpolation="nearest")
        axes.grid(False)
        (axes.set_ylabel if along else axes.set_xlabel)("client")
        charts.ticks(axes, across, down)
        made.tips.cells(said if len(rows) * len(rows[0]) <= _TIPS else [])
        if len(across) <= _CELLS and len(down) <= NAMES:
            for y, row in enumerate(rows):
                for x, value in enumerate(row):
                    axes.text(x, y, str(value), ha="center", va="center", size=7.5)
    return made.svg


def is_wide(run: RunData) -> bool:
    """Whether the plot of classes and clients wants the width of the page."""
    event = run.last("class-counts")
    return (
        bool(event)
        and max(len(event["counts"]) - FEW, len(event["classes"]) - NAMES) > 0
    )


def confusion(found: ByClass) -> str:
    """Draw which class was taken for which; of many classes there is a table alone."""
    names = [cut(score.name) for score in found.scores]
    if len(names) > NAMES:
        return ""
    ids = range(len(names))
    rows = [[found.confusion.get((i, j), 0) for j in ids] for i in ids]
    said = [
        [f"{names[i]}, taken for {names[j]}: {rows[i][j]}" for j in ids] for i in ids
    ]
    height = 2.0 + 0.2 * max(len(names), 5)
    with drawing("Confusion matrix", "confusion", height=height) as made:
        axes = made.axes
        axes.imshow(shades(rows), aspect="auto", interpolation="nearest")
        axes.grid(False)
        charts.ticks(axes, names, names)
        # Of so many the names below would lie on each other.
        axes.tick_params("x", labelsize=6.5 if len(names) > 20 else None)
        axes.set_xlabel("taken for")
        axes.set_ylabel("class")
        made.tips.cells(said)
        if len(names) <= _CELLS:
            for i in ids:
                for j in ids:
                    text = str(rows[i][j] or "")
                    axes.text(j, i, text, ha="center", va="center", size=7.5)
    return made.svg


def cut(name: str, most: int = 24) -> str:
    """Shorten a name to what has room in a plot."""
    return name if len(name) < most else f"{name[: most - 2]}…"


def privacy(run: RunData) -> str:
    """Draw epsilon so far; of the node that has spent most where each has its own."""
    lines = [("epsilon so far", "epsilon", 0, 0)]
    return charts.lines(run, "Privacy spent", "epsilon", lines, "epsilon")


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
            for number, value in enumerate(values, start=1):
                said = f"{cut(name, 60)}, direction {number}: {value:.3g}"
                made.tips.point(number, value, said)
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
