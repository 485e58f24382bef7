"""Compares what a server says it sent and received with what a node says.

Both keep SHA-256 of every message: the server in events.jsonl, the node in the audit
log beside its state. A message is known by its hash, so the order of lines is nothing.
"""

import hashlib
import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ilora_app.runs.reading import lines_of

KIND = "payloads"


@dataclass
class Comparison:
    """What came of it.

    Attributes:
        nodes: ids that the log has; a node may have another whenever it is started.
        agree: messages whose hashes, and those of their answers, are the same.
        altered: messages or answers that are not what the other side says.
        missing: those that one side alone has: lost on the way, refused unread, or of a
            round in which the server ended.

    """

    nodes: list[str] = field(default_factory=list)
    agree: int = 0
    altered: list[dict[str, Any]] = field(default_factory=list)
    missing: list[dict[str, Any]] = field(default_factory=list)


def compare(events: Path, audit: Path) -> Comparison:
    """Compare the events of a run with the audit log of a node.

    Raises:
        OSError: a file cannot be read.
        ValueError: one of them holds no hashes.

    """
    sent = [line for line in lines_of(events) if line.get("event") == KIND]
    if not sent:
        raise ValueError(f"{events}: expected events {KIND!r}, there are none")
    lines = [line for line in lines_of(audit) if "received" in line and "node" in line]
    if not lines:
        raise ValueError(
            f"{audit}: expected the audit log of a node, no line is of one"
        )
    found = Comparison(sorted({str(line["node"]) for line in lines}))
    waiting: dict[tuple[str, str], deque[dict[str, Any]]] = defaultdict(deque)
    for line in lines:
        waiting[str(line["node"]), str(line["received"])].append(line)
    for event in sent:
        for node in found.nodes:
            _one(event, node, waiting, found)
    for left in waiting.values():
        for line in left:
            what = "the node has a message that the server does not say it sent"
            found.altered.append({**line, "what": what})
    return found


def _one(event: dict[str, Any], node: str, waiting: Any, found: Comparison) -> None:
    """Hold an exchange of the server against the lines of a node."""
    ours = _hashes(event, "sent").get(node)
    if ours is None:
        return
    where = {"node": node, "round": event.get("round"), "purpose": event.get("purpose")}
    if not (lines := waiting.get((node, ours))):
        what = "the node has no message with the hash of what the server says it sent"
        found.missing.append({**where, "server": ours, "what": what})
        return
    theirs, came = lines.popleft().get("sent"), _hashes(event, "received").get(node)
    hashes = {"server": came, "node_log": theirs}
    if came == theirs:
        found.agree += 1
    elif came is None:
        what = "the server has not received the answer that the node sent"
        found.missing.append({**where, **hashes, "what": what})
    else:
        what = "the server has received another answer than the node sent"
        found.altered.append({**where, **hashes, "what": what})


def _hashes(event: dict[str, Any], way: str) -> dict[str, Any]:
    """By node; none where somebody has written something else there."""
    found = event.get(way)
    return found if isinstance(found, dict) else {}


def count(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hashes by round: how many messages and answers, and one hash of them all.

    That hash is the SHA-256 of the sorted hashes, a line each.
    """
    by_round: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.get("event") == KIND and isinstance(event.get("round"), int):
            by_round[event["round"]].append(event)
    rows = []
    for number, found in sorted(by_round.items()):
        sent = [h for event in found for h in _hashes(event, "sent").values()]
        received = [h for event in found for h in _hashes(event, "received").values()]
        text = "\n".join(sorted(map(str, sent + received)))
        whole = hashlib.sha256(text.encode()).hexdigest()
        rows.append(
            {"round": number, "sent": len(sent), "received": len(received),
             "sha256": whole}
        )  # fmt: skip
    return rows


def as_line(fact: dict[str, Any]) -> str:
    """Write one that is altered or missing as a line for people."""
    where = f"node {fact['node']}"
    if fact.get("round") is not None:
        where += f", round {fact['round']} ({fact['purpose']})"
    rest = {k: fact[k] for k in ("server", "node_log", "received") if k in fact}
    return f"{where}: {fact['what']} {json.dumps(rest)}"
