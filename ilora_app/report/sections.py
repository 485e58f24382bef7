"""What a report says, section by section; everything from data is escaped."""

import time
from html import escape

from ilora_app.report import look, plots
from ilora_app.report.pieces import charts, folded, last, note, section
from ilora_app.report.reading import Client, RunData, client_name
from ilora_app.report.records import BYTES, SECONDS, config, cost, failures, rounds
from ilora_app.runs.worth import BASELINES
from ilora_app.settings.parsing import count


def page(run: RunData, other: RunData | None = None) -> str:
    """Make the whole page of a run."""
    strategy = run.config.get("strategy", "")
    parts = [
        _head(run),
        section("Accuracy and loss", _course(run)),
        section("Clients and ranks", _clients(run)),
        section("Data of the clients", _data(run)),
        section("What the ranks keep", _ranks(run)),
        section("Client drift", _drift(run, other)),
        section("Bytes and seconds", cost(run)),
        section("Failures", failures(run)),
        section("Rounds", rounds(run)),
        section("Config and versions", config(run)),
    ]
    return look.page(f"Run of {strategy}", "\n".join(parts))


def _head(run: RunData) -> str:
    c = run.config
    what = f"{c.get('model')} on {c.get('dataset')}, seed {c.get('seed')}"
    times = [event["time"] for event in run.events if "time" in event]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(times[0])) if times else ""
    done, wanted = int(run.rounds[-1]["round"]), c.get("num-server-rounds")
    tiles = [(f"{done} of {wanted}", "rounds"), (str(len(run.clients())), "clients")]
    accuracies = run.series("accuracy")
    if accuracies:
        number, best = max(accuracies, key=lambda pair: pair[1])
        tiles.insert(0, (f"{accuracies[-1][1]:.4f}", "accuracy at the end"))
        tiles.insert(1, (f"{best:.4f}", f"best accuracy, round {number}"))
    for key, name in BASELINES:
        value = run.last("baselines").get(key)
        if isinstance(value, int | float):
            tiles.append((f"{value:.4f}", name))
    first = run.rounds[0]
    if "head_examples" in first and "accuracy" in first:
        tiles.append((f"{first['accuracy']:.4f}", "linear probe, round 0"))
    worst = run.value("client_accuracy_worst")
    if worst is not None:
        tiles.append((f"{worst:.4f}", "worst client, held out"))
    megabytes = run.total(*(key for _, key in BYTES)) / 1e6
    minutes = run.total(*(key for _, key in SECONDS[:3])) / 60
    tiles += [(f"{megabytes:.1f}", "MB sent"), (f"{minutes:.1f}", "minutes in rounds")]
    bad = len(run.kind("reply-left-out"))
    tiles.append((str(bad), "replies left out"))
    boxes = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in tiles
    )
    begun = f" Begun {escape(when)}." if when else ""
    return f'<p class="dim">{escape(what)}.{begun}</p><div class="tiles">{boxes}</div>'


def _course(run: RunData) -> str:
    return charts(plots.accuracy(run), plots.loss(run), plots.privacy(run))


def _clients(run: RunData) -> str:
    parts = [charts(plots.clients(run), plots.accuracy_by_rank(run))]
    found = run.clients()
    if any(c.accuracy or c.test_accuracy for c in found):
        heads = ["client", "rank", "examples", "held out", "accuracy", "best", "loss"]
        own = any(c.test_accuracy for c in found)
        heads += ["own model on the test split"] if own else []
        rows = [_client_row(client, own) for client in found]
        parts.append(look.table(heads, [("clients", rows)]))
        parts.append(
            note("Accuracy and loss of the clients are on what each has held out.")
        )
    elif found:
        rows = [[c.name, str(c.rank), str(c.examples)] for c in found]
        parts.append(look.table(["client", "rank", "examples"], [("clients", rows)]))
        parts.append(note("The clients measured nothing, or it was not recorded."))
    ranks = {rank: s for rank, s in run.by_rank("accuracy").items() if s}
    if ranks:
        losses = run.by_rank("loss")
        lines = [
            [f"rank {rank}", last(series), last(losses.get(rank, []))]
            for rank, series in ranks.items()
        ]
        parts.append(look.table(["test split", "accuracy", "loss"], [("ranks", lines)]))
    return "".join(parts)


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
        parts.append(charts(plots.classes(run), full=len(event["counts"]) > plots.FEW))
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
    parts = [look.prose(said), charts(plots.drift(run, other))]
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
    return "".join(parts)


def _between(run: RunData, other: RunData) -> str:
    """Say in which settings two runs differ."""
    keys = sorted({*run.config, *other.config} - {"output-dir", "resume", "report"})
    differ = [
        f"`{key}` {run.config.get(key)!r} here, {other.config.get(key)!r} there"
        for key in keys
        if run.config.get(key) != other.config.get(key)
    ]
    return f"Beside: {other.folder.name}; {'; '.join(differ) or 'no setting differs'}."
