"""Writes privacy.json and privacy.html: what a run shows of its nodes, and to whom."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ilora_app.report import look, membership
from ilora_app.report.pieces import folded, note, section
from ilora_app.report.privacy_facts import facts
from ilora_app.runs.writing import whole

JSON, PAGE = "privacy.json", "privacy.html"
Facts = dict[str, Any]


def write(folder: Path) -> Path:
    """Write both into the folder of a run.

    Returns:
        The page.

    Raises:
        OSError: they cannot be written.

    """
    found = facts(folder)
    for name, text in ((JSON, json.dumps(found, indent=1) + "\n"), (PAGE, page(found))):
        whole(folder / name, text)
    return folder / PAGE


def page(found: Facts) -> str:
    """Make the page of what :func:`facts` has collected."""
    run = found["run"]
    about = (
        f"Strategy {run['strategy']}, model {run['model']}, data {run['dataset']}; "
        f"{run['nodes']} nodes, {run['rounds']} of {run['of_rounds']} rounds. What is "
        "said here follows the settings of the run and what it has recorded; the same "
        f"facts for a program are in {JSON}."
    )
    parts = [
        note(about),
        section("In short", _short(found)),
        section("Differential privacy", _private(found["differential_privacy"])),
        section(
            "Who can see what a single node sends",
            _list(found["single_updates"]["seen"]),
        ),
        section("How few nodes", _cohort(found["minimum_cohort"])),
        section(
            "Transport and identity",
            _list([found["transport"]["said"], found["identity"]["said"]]),
        ),
        section("What is stored, and how it is erased", _stored(found)),
        section("Can members be told", membership.shown(found["membership_test"])),
        section("Hashes of messages", _hashes(found["payload_hashes"])),
        section("Not protected", _list(found["not_protected"])),
    ]
    return look.page(f"Privacy of the run {run['name']}", "\n".join(parts))


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _short(found: Facts) -> str:
    private, test = found["differential_privacy"], found["membership_test"]
    secure = found["single_updates"]["secure_aggregation"]
    lines = [
        "Updates of single nodes are hidden from the server (secure aggregation)."
        if secure
        else "The operator of the server can see the update of every single node."
    ]
    if private["unit"] == "none":
        lines.append("Models are not differentially private.")
    elif private["epsilon"] is None:
        lines.append(f"Differential privacy: {private['unit']}, no epsilon recorded.")
    else:
        lines.append(
            f"Models are differentially private to {private['unit']}: epsilon "
            f"{private['epsilon']:.3g} at delta {private['delta']:g} so far."
        )
    said = "none was run on the model."
    if test is not None:
        said = f"AUC {membership.interval(test, 'auc')}; 0.5 is guessing."
    lines.append(f"Membership test: {said}")
    if found["data_dealt_by_server"]:
        lines.append(
            "Nodes hold parts of one data set that they and the server were given by "
            "name, as in a simulation: those rows are no secret of theirs."
        )
    return _list(lines)


def _private(private: Facts) -> str:
    if private["unit"] == "none":
        return note("None. Unit, accountant and sampling assumption: none.")
    names = {
        "unit": "unit of privacy", "epsilon": "epsilon so far", "delta": "delta",
        "target_epsilon": "epsilon that is not exceeded", "accountant": "accountant",
        "sampling": "sampling", "noise_multiplier": "noise multiplier",
        "clip": "clipping norm", "releases": "models released",
    }  # fmt: skip
    rows = [
        [name, "–" if private[key] is None else _text(private[key])]
        for key, name in names.items()
    ]
    return look.table(["fact", "value"], [("facts", rows)], left=["value"])


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cohort(cohort: Facts) -> str:
    fewest = cohort["fewest_in_a_round"]
    said = f" The fewest of a round so far: {fewest}." if fewest else ""
    return _list([cohort["said"] + said])


def _stored(found: Facts) -> str:
    rows = [
        [
            item["name"],
            item["holds"],
            f"{item['bytes'] / 1e6:.2f}" if item["there"] else "not there",
            "yes" if item["erased_by_command"] else "with --all",
        ]
        for item in found["stored"]
    ]
    heads = ["in the run folder", "holds", "MB", "erased by the command"]
    table = look.table(heads, [("stored", rows)], left=["holds"])
    nodes, erase = found["node_state"], found["erase"]
    lines = [f"Command: `{erase['command']}`."]
    if nodes["keys"]:
        keys = ", ".join(nodes["keys"])
        lines += [
            f"Nodes: {nodes['holds']}; {nodes['where']} {keys}. A node removes it "
            "itself a month after it was last used, when another run begins there.",
            f"On a node's machine: `ilora runs erase --key {nodes['keys'][-1]}`.",
        ]
    else:
        lines.append("Nodes keep nothing of this run on their disks.")
    lines.append(
        "Messages that Flower's SuperLink holds until they are fetched are not known "
        "to the run: in memory, or in the file that it was started with."
    )
    if erase["erased"]:
        lines.append("What the command removes was removed from this folder.")
    return table + "".join(look.prose(line) for line in lines)


def _hashes(hashes: Facts) -> str:
    rows = [
        [str(row["round"]), str(row["sent"]), str(row["received"]), row["sha256"]]
        for row in hashes["rounds"]
    ]
    said = (
        '<p><a href="events.jsonl">events.jsonl</a> has the hash of every message that '
        "was sent to a node and of every answer, and the node has its own: they can be "
        "compared. The hash of a round is that of all its hashes in order.</p>"
    )
    if not rows:
        return said + note("No round is over yet.")
    heads = ["round", "sent", "received", "SHA-256 of the round's hashes"]
    table = look.table(heads, [("hashes", rows)], left=heads[3:])
    return said + folded(f"{len(rows)} rounds", table)
