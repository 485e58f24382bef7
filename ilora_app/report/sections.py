"""What a report says, section by section; everything from data is escaped."""

import time
from html import escape

from ilora_app.config import count
from ilora_app.report import look, plots
from ilora_app.report.reading import Client, RunData, Series, client_name

_BYTES = (
    ("training, to the clients", "bytes_down"),
    ("training, from the clients", "bytes_up"),
    ("evaluation, to the clients", "bytes_down_evaluate"),
    ("evaluation, from the clients", "bytes_up_evaluate"),
)
_SECONDS = (
    ("training, with the way there and back", "seconds_train"),
    ("aggregation", "seconds_aggregate"),
    ("evaluation, clients and server", "seconds_evaluate"),
    ("training on one client, mean", "seconds_client_mean"),
)


def page(run: RunData) -> str:
    """Make the whole page of a run."""
    strategy = run.config.get("strategy", "")
    parts = [
        _head(run),
        _section("Accuracy and loss", _course(run)),
        _section("Clients and ranks", _clients(run)),
        _section("Data of the clients", _data(run)),
        _section("What the ranks keep", _ranks(run)),
        _section("Client drift", _drift(run)),
        _section("Bytes and seconds", _cost(run)),
        _section("Failures", _failures(run)),
        _section("Rounds", _rounds(run)),
        _section("Config and versions", _config(run)),
    ]
    return look.page(f"Run of {strategy}", "\n".join(parts))


def _head(run: RunData) -> str:
    c = run.config
    what = f"{c.get('model')} on {c.get('dataset')}, seed {c.get('seed')}"
    times = [event["time"] for event in run.events if "time" in event]
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(times[0])) if times else ""
    last, wanted = int(run.rounds[-1]["round"]), c.get("num-server-rounds")
    tiles = [(f"{last} of {wanted}", "rounds"), (str(len(run.clients())), "clients")]
    accuracies = run.series("accuracy")
    if accuracies:
        number, best = max(accuracies, key=lambda pair: pair[1])
        tiles.insert(0, (f"{accuracies[-1][1]:.4f}", "accuracy at the end"))
        tiles.insert(1, (f"{best:.4f}", f"best accuracy, round {number}"))
    worst = run.value("client_accuracy_worst")
    if worst is not None:
        tiles.append((f"{worst:.4f}", "worst client, held out"))
    megabytes = run.total(*(key for _, key in _BYTES)) / 1e6
    minutes = run.total(*(key for _, key in _SECONDS[:3])) / 60
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
    return _charts(plots.accuracy(run), plots.loss(run))


def _clients(run: RunData) -> str:
    parts = [_charts(plots.clients(run), plots.accuracy_by_rank(run))]
    found = run.clients()
    if any(c.accuracy or c.test_accuracy for c in found):
        heads = ["client", "rank", "examples", "held out", "accuracy", "best", "loss"]
        own = any(c.test_accuracy for c in found)
        heads += ["own model on the test split"] if own else []
        rows = [_client_row(client, own) for client in found]
        parts.append(look.table(heads, [("clients", rows)]))
        parts.append(
            _note("Accuracy and loss of the clients are on what each has held out.")
        )
    elif found:
        rows = [[c.name, str(c.rank), str(c.examples)] for c in found]
        parts.append(look.table(["client", "rank", "examples"], [("clients", rows)]))
        parts.append(_note("The clients measured nothing, or it was not recorded."))
    ranks = {rank: s for rank, s in run.by_rank("accuracy").items() if s}
    if ranks:
        losses = run.by_rank("loss")
        lines = [
            [f"rank {rank}", _last(series), _last(losses.get(rank, []))]
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
        _last(client.accuracy),
        "–" if best is None else f"{best:.4f}",
        _last(client.loss),
    ]
    return [*row, _last(client.test_accuracy)] if own else row


def _data(run: RunData) -> str:
    event = run.last("class-counts")
    members = run.kind("member")
    alone = sorted({client_name(m) for m in members if m.get("partition") is None})
    parts = []
    if event:
        parts.append(_charts(plots.classes(run), full=len(event["counts"]) > 8))
        heads = ["class", *(f"client {i}" for i in range(len(event["counts"])))]
        rows = [
            [name, *(str(part[i]) for part in event["counts"])]
            for i, name in enumerate(event["classes"])
        ]
        rows.append(["all", *(str(sum(part)) for part in event["counts"])])
        table = look.table(heads, [("classes", rows[:-1]), ("bounds", rows[-1:])])
        parts.append(_folded("Counts, held-out examples included", table))
    elif len(alone) < len(members) or not members:
        parts.append(_note("The classes of the partitions were not counted."))
    if alone:
        names = ", ".join(alone)
        parts.append(
            _note(
                f"Data of their own: {names}. What is in it stays with them: nodes "
                "send no counts of their classes, so there are none here."
            )
        )
    return "".join(parts)


def _ranks(run: RunData) -> str:
    layers = run.last("singular-values").get("layers", {})
    parts = [_charts(plots.energy(run), plots.spectra(run))]
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
        parts.append(_folded(count(len(rows), "layer"), table))
        parts.append(
            _note(
                "The global update s B A at the end. % in r: the part of its squared "
                "norm that its r largest directions hold, which the best cut to rank "
                "r would keep."
            )
        )
    if not any(parts):
        return _note(
            "Nothing is cut by this strategy, or there is no global model of factors."
        )
    return "".join(parts)


def _drift(run: RunData) -> str:
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
    parts = [look.prose(said), _charts(plots.drift(run))]
    if run.series("drift"):
        parts.append(
            _note(
                "Mean distance of the clients' updates from their mean, in the "
                "weights of the adapted layers and in the head."
            )
        )
    else:
        parts.append(_note("It was not measured: not all that clients train is sent."))
    return "".join(parts)


def _cost(run: RunData) -> str:
    trained = max(sum(row["round"] > 0 for row in run.rounds), 1)
    rows = [
        [f"MB, {name}", f"{run.total(key) / 1e6:.3f}", f"{each / 1e6:.3f}"]
        for name, key in _BYTES
        for each in [run.total(key) / trained]
    ]
    rows += [
        [f"s, {name}", f"{run.total(key):.1f}", f"{run.total(key) / trained:.2f}"]
        for name, key in _SECONDS
    ]
    table = look.table(["part", "all rounds", "a round"], [("parts", rows)])
    return _charts(plots.traffic(run), plots.seconds(run)) + table


def _failures(run: RunData) -> str:
    rows = [
        [str(event.get("round", "–")), _purpose(event), client_name(event), text]
        for event in run.kind("reply-left-out")
        for text in [str(event.get("reason", ""))]
    ]
    rows += [
        [str(event.get("round", "–")), "model unchanged", "–", str(event.get("reason"))]
        for event in run.kind("model-unchanged")
    ]
    rows += [
        ["–", "node left out", f"node {event.get('node')}", str(event.get("reason"))]
        for event in run.kind("node-left-out")
    ]
    said = [
        _note(
            f"The run was interrupted, and went on after round {event['after_round']}."
        )
        for event in run.kind("resumed")
        if "after_round" in event
    ]
    if not rows:
        return "".join(said) + _note("None: every reply was used.")
    heads = ["round", "what", "client", "why"]
    return "".join(said) + look.table(heads, [("failures", rows)], left=["why"])


def _purpose(event: dict[str, object]) -> str:
    names = {"train": "training", "evaluate": "evaluation"}
    purpose = str(event.get("purpose", ""))
    return f"reply to {names.get(purpose, purpose)}"


def _rounds(run: RunData) -> str:
    names = list(dict.fromkeys(name for row in run.rounds for name in row))
    rows = [
        [_number(row[name]) if name in row else "–" for name in names]
        for row in run.rounds
    ]
    table = look.table([name.replace("_", " ") for name in names], [("rounds", rows)])
    return _folded(f"All {len(names)} columns of metrics.csv", table)


def _config(run: RunData) -> str:
    rows = [[key, _shown(value)] for key, value in run.config.items()]
    table = look.table(["key", "value"], [("config", rows)], left=["value"])
    parts = [_folded("The run config as resolved", table)]
    found: list[str] = []
    for event in run.kind("versions"):
        packages = ", ".join(f"{n} {v}" for n, v in event["packages"].items())
        found.append(f"{packages}; {event.get('hardware', '')}")
    if not found:
        parts.append(_note("The versions were not recorded."))
    parts += [_note(f"Server: {line}.") for line in dict.fromkeys(found)]
    return "".join(parts)


def _section(name: str, inner: str) -> str:
    return f"<section>\n<h2>{escape(name)}</h2>\n{inner}\n</section>"


def _charts(*drawn: str, full: bool = False) -> str:
    kind = ' class="full"' if full else ""
    figures = "".join(f"<figure{kind}>{svg}</figure>" for svg in drawn if svg)
    return f'<div class="charts">{figures}</div>' if figures else ""


def _folded(name: str, inner: str) -> str:
    return f"<details><summary>{escape(name)}</summary>{inner}</details>"


def _note(text: str) -> str:
    return f'<p class="dim">{escape(text)}</p>'


def _last(series: Series) -> str:
    return f"{series[-1][1]:.4f}" if series else "–"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.5g}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
