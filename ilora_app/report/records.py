"""The sections of a report that list what was recorded."""

from ilora_app.report import look, plots
from ilora_app.report.pieces import charts, folded, note, number, shown
from ilora_app.report.reading import RunData, client_name

BYTES = (
    ("training, to the clients", "bytes_down"),
    ("training, from the clients", "bytes_up"),
    ("evaluation, to the clients", "bytes_down_evaluate"),
    ("evaluation, from the clients", "bytes_up_evaluate"),
)
SECONDS = (
    ("training, with the way there and back", "seconds_train"),
    ("aggregation", "seconds_aggregate"),
    ("evaluation, clients and server", "seconds_evaluate"),
    ("training on one client, mean", "seconds_client_mean"),
)


def cost(run: RunData) -> str:
    """Megabytes and seconds by part."""
    trained = max(sum(row["round"] > 0 for row in run.rounds), 1)
    rows = [
        [f"MB, {name}", f"{run.total(key) / 1e6:.3f}", f"{each / 1e6:.3f}"]
        for name, key in BYTES
        for each in [run.total(key) / trained]
    ]
    rows += [
        [f"s, {name}", f"{run.total(key):.1f}", f"{run.total(key) / trained:.2f}"]
        for name, key in SECONDS
    ]
    heads = ["part", "all rounds", "a round"]
    tables = [
        look.table(heads, [("parts", rows[start : start + len(BYTES)])])
        for start in (0, len(BYTES))
    ]
    return charts(plots.traffic(run), plots.seconds(run), *tables)


def failures(run: RunData) -> str:
    """What was left out, and why."""
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
        ["–", what, f"node {event.get('node')}", str(event.get("reason"))]
        for kind, what in (
            ("node-left-out", "node left out"),
            ("node-struck-out", "node asked no more"),
        )
        for event in run.kind(kind)
    ]
    rows += [
        ["–", "claimed twice", f"nodes {nodes}", str(event.get("reason"))]
        for event in run.kind("claimed-twice")
        for nodes in [", ".join(map(str, event.get("nodes", [])))]
    ]
    said = [
        note(
            f"The run was interrupted, and went on after round {event['after_round']}."
        )
        for event in run.kind("resumed")
        if "after_round" in event
    ]
    if not rows:
        return "".join(said) + note("None: every reply was used.")
    heads = ["round", "what", "client", "why"]
    return "".join(said) + look.table(heads, [("failures", rows)], left=["why"])


def _purpose(event: dict[str, object]) -> str:
    names = {"train": "training", "evaluate": "evaluation"}
    purpose = str(event.get("purpose", ""))
    return f"reply to {names.get(purpose, purpose)}"


def rounds(run: RunData) -> str:
    """Every column of every round."""
    names = list(dict.fromkeys(name for row in run.rounds for name in row))
    rows = [
        [number(row[name]) if name in row else "–" for name in names]
        for row in run.rounds
    ]
    table = look.table([name.replace("_", " ") for name in names], [("rounds", rows)])
    return folded(f"All {len(names)} columns of metrics.csv", table)


def config(run: RunData) -> str:
    """The run config as resolved, and the versions."""
    rows = [[key, shown(value)] for key, value in run.config.items()]
    table = look.table(["key", "value"], [("config", rows)], left=["value"])
    parts = [folded("The run config as resolved", table)]
    found: list[str] = []
    for event in run.kind("versions"):
        packages = ", ".join(f"{n} {v}" for n, v in event["packages"].items())
        found.append(f"{packages}; {event.get('hardware', '')}")
    if not found:
        parts.append(note("The versions were not recorded."))
    parts += [note(f"Server: {line}.") for line in dict.fromkeys(found)]
    return "".join(parts)
