"""The sections of a report that list what was recorded."""

from ilora_app.report import look
from ilora_app.report.pieces import folded, note, number, shown
from ilora_app.report.reading import RunData, client_name


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
