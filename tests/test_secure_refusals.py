"""Nodes that drop out, and what is refused or hidden where the server sees sums."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    RecordDict,
)

from ilora_app import methods, wire
from ilora_app.deploy import keys as deployed
from ilora_app.federation.validity import problems
from ilora_app.settings import Settings, parsing
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import run
from tests.test_secure_run import SECURE, configs, dropping, stage_of, unchanged

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    return configs(tiny_config, tmp_path_factory)


def test_what_cannot_be_opened_leaves_the_model(config):
    def replies_of_2(change: Callable[[Any], None]) -> Callable[[Message], Message]:
        def tamper(reply: Message) -> Message:
            ours = reply.metadata.src_node_id == 2 and wire.SECURE in reply.content
            if ours:
                change(reply.content[wire.SECURE])
            return reply

        return tamper

    def wrong_share(record: Any) -> None:
        if wire.SHARES in record:
            record[wire.SHARES] = [text[:-1] + b"\0" for text in record[wire.SHARES]]

    def short(record: Any) -> None:
        if isinstance(record, ArrayRecord):
            array = record["masked"]
            record["masked"] = Array("uint64", (1,), array.stype, array.data[:8])

    def another(record: Any) -> None:
        if wire.KEYS in record:
            record[wire.KEYS] = bytes(8) + record[wire.KEYS][8:]

    secure = config(**SECURE)
    why = unchanged(secure, 3, tamper=replies_of_2(wrong_share))
    assert (
        "shares of the seed of node 1 are wrong, as one of nodes [1, 2, 3] has" in why
    )
    folder, _, _ = run(config(**SECURE), tamper=replies_of_2(wrong_share), nodes=4)
    assert not read_events(folder, "model-unchanged")
    told = {(e["node"], e["reason"]) for e in read_events(folder, "reply-left-out")}
    assert told == {(2, "it has given wrong shares")}
    keys = config(**SECURE, **{"secure-min-nodes": 4})
    why = unchanged(keys, tamper=replies_of_2(short))
    assert "3 nodes are left, 4 must" in why
    assert "a masked vector of 8 bytes" in why
    why = unchanged(config(**SECURE), 3, tamper=replies_of_2(another))
    assert "2 nodes have keys for secure aggregation, secure-min-nodes is 3" in why
    assert "it has sent the keys of another node" in why
    why = unchanged(config(**SECURE), 5, tamper=dropping(2, wire.FACTORS))
    assert "nodes [2] dropped out between sums of one update" in why


def test_a_node_checks_what_nobody_else_can_see(config):
    keys = config(**SECURE, **{"max-update-norm": 1e-6})
    assert "its update is larger than max-update-norm" in unchanged(keys)


def test_a_resumed_run_is_the_run_that_was_not_interrupted(config):
    whole, _, _ = run(config(**SECURE))
    keys = config(**SECURE)
    again = interrupted(keys)
    resumed(keys)
    assert_same(whole, again)


def test_what_reaches_the_server_of_one_node_is_masked_or_public(config):
    seen: list[Message] = []

    def watch(reply: Message) -> Message:
        seen.append(reply)
        return reply

    folder, _, server = run(config(**SECURE, head="ridge"), tamper=watch)
    kinds = set()
    for reply in seen:
        if reply.metadata.message_type == MessageType.QUERY:
            facts = reply.content.config_records[wire.CONFIG]
            assert (facts[wire.EXAMPLES], facts[wire.HELD_OUT]) == (1, 1)
            continue
        (name,) = reply.content
        assert name == wire.SECURE
        kinds.add(stage_of(reply))
        record = reply.content[wire.SECURE]
        if isinstance(record, ArrayRecord):
            numbers = wire.read_masked(record, len(record["masked"].data) // 8)
            bits = (numbers[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
            share = (
                bits.mean(axis=0) if len(numbers) > 1000 else np.array([bits.mean()])
            )
            assert (abs(share - 0.5) < 6 / (2 * share.size / bits.size) ** -0.5).all()
    assert kinds == {
        wire.KEYS,
        wire.LETTERS,
        wire.SHARES,
        wire.FACTORS,
        "train",
        "evaluate",
    }
    correction = server.strategy.drift_correction
    assert correction is None
    assert not read_events(folder, "clients-evaluated")
    members = read_events(folder, "member")
    assert {member["examples"] for member in members} == {1}


def test_a_node_may_ask_for_more_than_the_server_offers(config):
    alone = {0: {"secure-aggregation": True}}
    _, _, server = run(config(), 4, node_configs=alone)
    assert list(server.membership.left_out.values()) == [
        "--node-config secure-aggregation = true: this node takes part in runs with "
        "secure-aggregation = true alone"
    ]
    many = {0: {"secure-min-nodes": 5}}
    folder, _, server = run(config(**SECURE), 5, node_configs=many)
    assert server.folder.rows[-1]["clients"] == 4
    reasons = {event["reason"] for event in read_events(folder, "reply-left-out")}
    assert any("this node's secure-min-nodes is 5" in reason for reason in reasons)


def test_a_server_cannot_show_a_key_that_is_no_registered_node_s(config, tmp_path):
    request = deployed.Request(tmp_path, (), 4)
    deployed.make(request)
    names = request.node_names
    roster = tmp_path / "roster"
    public = [(tmp_path / f"{name}.pub").read_text() for name in names]
    roster.write_text("".join(public))
    nodes = {
        i: {"secure-key": str(tmp_path / name), "secure-roster": str(roster)}
        for i, name in enumerate(names)
    }
    _, _, server = run(config(**SECURE), 4, node_configs=nodes)
    assert server.folder.rows[-1]["clients"] == 4
    roster.write_text("".join(public[:3]))
    why = unchanged(config(**SECURE), node_configs=nodes)
    assert "node 4 is not in the roster" in why


def test_a_round_is_masked_once(config):
    _, grid, _ = run(config(**SECURE))
    facts = {
        wire.STAGE: wire.KEYS,
        wire.PURPOSE: "train",
        wire.ROUND: 2,
        wire.PASSES: 3,
        wire.SECURE_LEAST: 3,
    }
    for change, reason in (
        ({}, "round 2 was masked before"),
        ({wire.ROUND: 3, wire.SECURE_LEAST: 2}, "fewer nodes than secure-min-nodes"),
        ({wire.ROUND: 9, wire.STAGE: wire.SHARES}, "has no keys of round 9"),
    ):
        content = RecordDict({wire.SECURE: ConfigRecord(facts | change)})
        (reply,) = grid.send_and_receive([Message(content, 1, "query.secure")])
        assert reason in reply.error.reason
    content = RecordDict({wire.CONFIG: ConfigRecord({wire.ROUND: 3})})
    (reply,) = grid.send_and_receive([Message(content, 1, MessageType.TRAIN)])
    assert "asks for an answer in the clear" in reply.error.reason


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"strategy": "flora"}, "under flora the server must see"),
        ({"strategy": "hetlora"}, "under hetlora the server must see"),
        ({"strategy": "lora-a2"}, "under lora-a2 the server must see"),
        ({"cut": "product"}, "cut = 'product': expected update"),
        ({"decomposition": "pivoted-qr"}, "decomposition = 'pivoted-qr': expected qr"),
        ({"strategy": "fedit", "initialisation": "qr"}, "initialisation = 'qr': "),
        ({"server-rate": "auto", "aggregate": "increments"}, "server-rate = 'auto': "),
        ({"drift-correction": "fedadamw"}, "drift-correction = 'fedadamw': "),
        ({"control-basis": "rotate"}, "control-basis = 'rotate': expected keep"),
        ({"robust": "median"}, "robust = 'median': expected none"),
        ({"wire-dtype": "int8"}, "wire-dtype = 'int8': expected float32"),
        ({"round-deadline": 5.0}, "round-deadline = 5.0: expected 0"),
        ({"best-metric": "client_accuracy_worst"}, "best-metric = "),
        ({"secure-aggregation": False, "secure-min-nodes": 5}, "is not used"),
    ],
)
def test_settings_that_need_sight_are_refused(keys, problem):
    head = {"head": "trained"}
    settings, wrong = methods.parse(parsing.dump(Settings()) | head | SECURE | keys)
    assert not wrong
    found = problems(settings)
    assert any(problem in text for text in found.values()), found
