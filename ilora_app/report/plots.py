"""The plots of a report: each takes what was read of a run and returns SVG, or ""."""

from matplotlib.ticker import NullFormatter

from ilora_app.report import charts
from ilora_app.report.charts import NAMES
from ilora_app.report.drawing import (
    COLOURS,
    DASHES,
    drawing,
    legend,
    shades,
    whole_rounds,
)
from ilora_app.report.reading import RunData

# More cells than this are read by their shade alone, more lines by their rank.
_CELLS, _DECADES = 14, 20

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
    return charts.lines(run, "Client drift", "drift", lines, "Frobenius norm", found)


def accuracy_by_rank(run: RunData) -> str:
    """Draw accuracy of what a client of each rank holds, on the test split."""
    return charts.by_rank(run, "accuracy", "Accuracy at each rank", "accuracy")


def energy(run: RunData) -> str:
    """Draw the part of an aggregate that the cut to each rank keeps."""
    return charts.by_rank(run, "energy_kept", "Energy kept by rank", "part of ‖D‖²")


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
            charts.line(made.axes, series, ranks.index(rank), 0, label)
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
    height = 1.0 + max(0.2 * min(len(down), NAMES), 1.2)
    width = 4.4 if len(across) <= FEW else 8.0
    title = "Examples by class and client"
    with drawing(title, "classes", width, height) as made:
        axes = made.axes
        axes.imshow(shades(rows), aspect="auto", interpolation="nearest")
        axes.grid(False)
        axes.set_xlabel("client")
        charts.ticks(axes, across, down)
        if len(across) <= _CELLS and len(down) <= NAMES:
            for y, row in enumerate(rows):
                for x, value in enumerate(row):
                    axes.text(x, y, str(value), ha="center", va="center", size=7.5)
    return made.svg


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
    return charts.bars(run, "Megabytes by round, all clients", "MB", parts, 1e-6)


def seconds(run: RunData) -> str:
    """Draw seconds by round and part."""
    parts = [
        ("training", "seconds_train"),
        ("aggregation", "seconds_aggregate"),
        ("evaluation", "seconds_evaluate"),
    ]
    return charts.bars(run, "Seconds by round", "s", parts, 1.0)
