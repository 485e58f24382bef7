"""What a report says, section by section; everything from data is escaped."""

from ilora_app.report import classes, look, plots
from ilora_app.report.cost import cost
from ilora_app.report.head import head
from ilora_app.report.pieces import charts, folded, last, note, section
from ilora_app.report.reading import Client, RunData, client_name
from ilora_app.report.records import config, failures, rounds
from ilora_app.report.verdict import status_of, verdict
from ilora_app.runs.history import RUNNING
from ilora_app.settings.parsing import count, shown

WORDS = (
    ("rank r", "the size of an adapter: how many directions each layer may learn"),
    ("B, A", "the two factors of an adapter; a layer of weights W works as W + s B A"),
    ("s", "the scaling of an adapter, lora-scaling in the config"),
    ("s B A", "what was learned of a layer: the update to its weights"),
    ("singular values", "how strong each direction of an update is, strongest first"),
    (
        "energy kept",
        "part of the squared norm of what was learned that the cut to a rank keeps",
    ),
    ("norm", "the square root of the sum of squares of all numbers (Frobenius)"),
    ("drift", "how far the clients' updates lie from their mean"),
    ("held out", "rows that a client measures on and does not train on"),
    ("test split", "rows of the server, of which no client has any"),
    ("linear probe", "a linear model on what the frozen network makes of the rows"),
    ("epsilon", "the bound of what a private run tells of one member; less is better"),
)
"""(what stands in a report, what it means)."""


def page(run: RunData, other: RunData | None = None, over: bool = False) -> str:
    """Make the whole page of a run; ``over`` where the run itself says that it is."""
    strategy = run.config.get("strategy", "")
    status, reason = status_of(run, over)
    running = status == RUNNING
    by_class, when = classes.found_in(run, running)
    parts = [
        head(run, verdict(run, by_class, status, reason)),
        section("Accuracy and loss", _course(run)),
        section("Classes", classes.by_class(by_class, when)),
        section("Clients and ranks", _clients(run)),
        section("Data of the clients", _data(run)),
        section("What the ranks keep", _ranks(run)),
        section("Client drift", _drift(run, other)),
        section("Bytes and seconds", cost(run)),
        section("Failures", failures(run)),
        section("Rounds", rounds(run)),
        section("Config and versions", config(run)),
        section("Words", look.words(WORDS)),
    ]
    live = "Live: run" if running else "Run"
    return look.page(f"{live} of {strategy}", "\n".join(parts))


def _course(run: RunData) -> str:
    return charts(plots.accuracy(run), plots.loss(run), plots.privacy(run))


def _clients(run: RunData) -> str:
    parts = [plots.clients(run), plots.accuracy_by_rank(run)]
    notes = []
    found = run.clients()
    if any(c.accuracy or c.test_accuracy for c in found):
        heads = ["client", "rank", "examples", "held out", "accuracy", "best", "loss"]
        own = any(c.test_accuracy for c in found)
        heads += ["own model on the test split"] if own else []
        rows = [_client_row(client, own) for client in found]
        parts.append(look.table(heads, [("clients", rows)], kind="fits"))
        notes.append("Accuracy and loss of the clients are on what each has held out.")
    elif found:
        rows = [[c.name, str(c.rank), str(c.examples)] for c in found]
        table = look.table(["client", "rank", "examples"], [("clients", rows)])
        parts.append(table)
        notes.append("The clients measured nothing, or it was not recorded.")
    ranks = {rank: s for rank, s in run.by_rank("accuracy").items() if s}
    if ranks:
        losses = run.by_rank("loss")
        lines = [
            [f"rank {rank}", last(series), last(losses.get(rank, []))]
            for rank, series in ranks.items()
        ]
        parts.append(look.table(["test split", "accuracy", "loss"], [("ranks", lines)]))
    return charts(*parts) + "".join(map(note, notes))


def _client_row(client: Client, own: bool) -> list[str]:
    best = max((value for _, value in client.accuracy), default=None)
    row = [
        client.name,
        str(client.rank),
        str(client.examples),
        str(client.held_out),
        last(client.accuracy),
        "–" if best is None else f"{best:.4f}",
        last(client.loss),
    ]
    return [*row, last(client.test_accuracy)] if own else row


def _data(run: RunData) -> str:
    event = run.last("class-counts")
    members = run.kind("member")
    alone = sorted({client_name(m) for m in members if m.get("partition") is None})
    parts = []
    if event:
        parts.append(charts(plots.classes(run), full=plots.is_wide(run)))
        heads = ["class", *(f"client {i}" for i in range(len(event["counts"])))]
        rows = [
            [name, *(str(part[i]) for part in event["counts"])]
            for i, name in enumerate(event["classes"])
        ]
        rows.append(["all", *(str(sum(part)) for part in event["counts"])])
        table = look.table(heads, [("classes", rows[:-1]), ("bounds", rows[-1:])])
        parts.append(folded("Counts, held-out examples included", table))
    elif len(alone) < len(members) or not members:
        parts.append(note("The classes of the partitions were not counted."))
    if alone:
        names = ", ".join(alone)
        parts.append(
            note(
                f"Data of their own: {names}. What is in it stays with them: nodes "
                "send no counts of their classes, so there are none here."
            )
        )
    return "".join(parts)


def _ranks(run: RunData) -> str:
    layers = run.last("singular-values").get("layers", {})
    parts = [charts(plots.energy(run), plots.spectra(run))]
    ranks = sorted({client.rank for client in run.clients() if client.rank})
    if layers:
        heads = ["layer", "norm", "largest", *(f"% in {rank}" for rank in ranks)]
        rows = []
        for name, layer in layers.items():
            squared = [value * value for value in layer["values"]]
            whole = layer["norm"] ** 2
            shares = [
                f"{min(100 * sum(squared[:rank]) / whole, 100):.1f}" if whole else "–"
                for rank in ranks
            ]
            largest = f"{layer['values'][0]:.4g}" if layer["values"] else "–"
            rows.append([name, f"{layer['norm']:.4g}", largest, *shares])
        table = look.table(heads, [("layers", rows)])
        parts.append(folded(count(len(rows), "layer"), table))
        parts.append(
            note(
                "The global update s B A at the end. % in r: the part of its squared "
                "norm that its r largest directions hold, which the best cut to rank "
                "r would keep."
            )
        )
    if not any(parts):
        return note(
            "Nothing is cut by this strategy, or there is no global model of factors."
        )
    return "".join(parts)


def _drift(run: RunData, other: RunData | None) -> str:
    chosen = run.config.get("drift-correction", "none")
    if chosen == "none":
        said = (
            "This run had no drift correction; "
            '`drift-correction = "control-variates"` is one with it.'
        )
    else:
        scope = run.config.get("control-scope", "all")
        said = (
            f"This run had drift correction by {chosen} (scope: {scope}); "
            '`drift-correction = "none"` is the same run without.'
        )
    parts = [look.prose(said)]
    if other:
        parts.append(look.prose(_between(run, other)))
    if run.series("drift"):
        parts.append(
            note(
                "Mean distance of the clients' updates from their mean, in the "
                "weights of the adapted layers and in the head."
            )
        )
    else:
        parts.append(note("It was not measured: not all that clients train is sent."))
    return charts(plots.drift(run, other), f"<div>{''.join(parts)}</div>")


def _between(run: RunData, other: RunData) -> str:
    """Say in which settings two runs differ."""
    keys = sorted({*run.config, *other.config} - {"output-dir", "resume", "report"})
    differ = [
        f"`{key}` {shown(run.config.get(key))} here, "
        f"{shown(other.config.get(key))} there"
        for key in keys
        if run.config.get(key) != other.config.get(key)
    ]
    return f"Beside: {other.folder.name}; {'; '.join(differ) or 'no setting differs'}."
