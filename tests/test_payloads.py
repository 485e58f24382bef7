"""Hashes of messages: the server's, the node's, and the two held together."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto

from ilora_app import wire
from ilora_app.runs.payloads import compare, count
from tests.conftest import read_events
from tests.finished import ilora
from tests.local_run import run

CONFIG: dict[str, Any] = {
    "a": 1, "b": [b"1", b"2"], "c": True, "d": "s", "e": 2.5, "f": 2**63, "g": b"",
}  # fmt: skip
ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.ones(2)}


def content(config: Any = CONFIG, **arrays: Any) -> RecordDict:
    written = {n: Array(v) for n, v in (ARRAYS | arrays).items() if v is not None}
    records = {
        "arrays": ArrayRecord(written),
        "config": ConfigRecord(dict(config)),
        "metrics": MetricRecord({"loss": 0.25, "n": 3}),
    }
    return RecordDict(records)


def test_a_transport_changes_no_hash():
    one = content()
    other = recorddict_from_proto(recorddict_to_proto(one))
    assert wire.digest(other) == wire.digest(one) == wire.digest(content())
    turned = RecordDict(dict(reversed(one.items())))
    turned["arrays"] = ArrayRecord(dict(reversed(one["arrays"].items())))
    assert wire.digest(turned) == wire.digest(one)
    assert wire.digest(one, {}) == wire.digest(one)


CHANGES: list[dict[str, Any]] = [
    {"x": ARRAYS["x"].reshape(3, 2)},
    {"x": ARRAYS["x"].astype(np.float64)},
    {"x": ARRAYS["x"] + np.float32(1e-6)},
    {"y": None},
    {"y": None, "z": np.ones(2)},
    {"config": CONFIG | {"a": 1.0}},
    {"config": CONFIG | {"a": True}},
    {"config": CONFIG | {"b": [b"12", b""]}},
    {"config": CONFIG | {"d": "t"}},
    {"config": {k: v for k, v in CONFIG.items() if k != "g"}},
]


def test_whatever_a_message_says_is_in_its_hash():
    found = {wire.digest(content(**change)) for change in CHANGES}
    assert len(found) == len(CHANGES)
    assert wire.digest(content()) not in found


def log_of(server: Any, partition: int, nodes: int) -> Path:
    place = Path(os.environ["ILORA_STATE"]) / server.prepared.run_key
    return place / f"partition-{partition}-of-{nodes}" / "audit.jsonl"


def agreeing(folder: Path, states: Path) -> list[int]:
    """Messages that a server and each of its nodes speak of alike; all must be."""
    (event,) = read_events(folder, "node-state")
    logs = sorted(states.rglob(f"{event['key']}/*/audit.jsonl"))
    found = [compare(folder / "events.jsonl", log) for log in logs]
    for one in found:
        assert not one.altered
        assert not one.missing
    return [one.agree for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "secure", "ridge", "together"])
def test_both_sides_have_the_same_hashes(run_config, way):
    more: dict[str, Any] = {
        "plain": {},
        "secure": {"secure-aggregation": True, "decomposition": "qr"},
        "ridge": {"head": "ridge", "drift-correction": "none"},
        "together": {"clients-per-batch": 4},
    }[way]
    folder, _, server = run(run_config | more, 4)
    events = read_events(folder, "payloads")
    for node in (1, 4):
        asked = [event for event in events if str(node) in event["sent"]]
        found = compare(folder / "events.jsonl", log_of(server, node - 1, 4))
        assert found.agree == len(asked) >= 4
        assert not found.altered
        assert not found.missing
    kinds = {event["purpose"] for event in events}
    assert {"train", "evaluate"} <= kinds
    assert ("secure-reveal-0" in kinds) == (way == "secure")
    rows = count(events)
    assert [row["round"] for row in rows][-2:] == [1, 2]
    assert all(row["sent"] == row["received"] for row in rows)


@pytest.mark.slow
def test_what_is_changed_or_lost_on_the_way_is_found(run_config):
    def tamper(reply):
        kind, node = reply.metadata.message_type, reply.metadata.src_node_id
        if kind == "train" and node == 2:
            reply.content["metrics"]["loss"] = 0.125
        return None if kind == "evaluate" and node == 3 else reply

    folder, _, server = run(run_config, 3, tamper=tamper)
    changed, lost, right = (log_of(server, part, 3) for part in (1, 2, 0))
    found = compare(folder / "events.jsonl", changed)
    assert [fact["round"] for fact in found.altered] == [1, 2]
    assert "another answer" in found.altered[0]["what"]
    found = compare(folder / "events.jsonl", lost)
    assert not found.altered
    assert [fact["purpose"] for fact in found.missing] == ["evaluate", "evaluate"]

    result = ilora("runs", "payloads", folder, changed)
    assert result.exit_code == 1
    assert "node 2, round 1 (train): the server has received another" in result.output
    result = ilora("runs", "payloads", folder / "events.jsonl", right.parent, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["agree"] == 4
    # A message that the server keeps to itself.
    lines = (folder / "events.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"purpose": "evaluate"' not in line]
    (folder / "short.jsonl").write_text("\n".join(kept))
    found = compare(folder / "short.jsonl", right)
    assert [fact["kind"] for fact in found.altered] == ["evaluate", "evaluate"]


@pytest.mark.slow
def test_a_node_that_keeps_no_state_has_no_log(run_config):
    _, _, server = run(run_config | {"keep-checkpoints": 0}, 3)
    assert not server.prepared.run_key


def test_files_that_hold_no_hashes(tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_text('{"event": "started"}\n')
    result = ilora("runs", "payloads", events, events)
    assert result.exit_code == 2
    assert "expected events 'payloads', there are none" in result.output
    events.write_text('{"event": "payloads", "round": 1, "sent": {"1": "x"}}\n')
    result = ilora("runs", "payloads", events, events)
    assert "expected the audit log of a node" in result.output
    assert ilora("runs", "payloads", events, tmp_path / "no").exit_code == 2
