"""Nodes that make rounds of sums fail: who is blamed, and what is tried again."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message

from ilora_app import wire
from ilora_app.federation.member import Member
from ilora_app.federation.secure_blame import sort_out
from ilora_app.secure import SecureError, shamir
from ilora_app.secure.errors import accused, at_fault
from ilora_app.settings import PrivacySettings, RunSettings, Settings
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import run
from tests.test_secure_protocol import Session
from tests.test_secure_run import PLAIN, SECURE, configs, dropping

BAD = 2
REFUSAL = str(at_fault(BAD, "shares that were changed"))


@pytest.fixture
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    return configs(tiny_config, tmp_path_factory)


@pytest.mark.parametrize(
    ("reason", "node"),
    [
        ("node 7: shares of another length", 7),
        ("node -3: changed", -3),
        ("no reply within 3 s", None),
        ("its node 7: changed", None),
        ("node 7 has sent no keys", None),
    ],
)
def test_a_refusal_names_whom_it_is_about(reason, node):
    assert accused(reason) == node
    if node is not None:
        assert str(at_fault(node, reason.partition(": ")[2])) == reason


@pytest.mark.parametrize(
    ("refusing", "blamed"), [((1, 3, 4, 5), True), ((1, 3, 4), True), ((1, 3), False)]
)
def test_more_than_half_are_believed_and_nobody_who_refuses_is_blamed(refusing, blamed):
    members = {n: Member(n, n, 4, 10) for n in range(1, 6)}
    good = [(n, n) for n in members if n not in refusing]
    bad = [(members[n], REFUSAL) for n in refusing]
    found = sort_out(good, bad, members)
    assert found.excused == set(refusing)
    assert (BAD not in found.good) == blamed
    more = [(m.node_id, why) for m, why in found.bad[len(bad) :]]
    why = f"{len(refusing)} nodes cannot open the shares that it has sent them"
    assert more == ([(BAD, why)] if blamed else [])


def test_who_accuses_and_is_accused_and_who_names_a_stranger_are_not_excused():
    members = {n: Member(n, n, 4, 10) for n in range(1, 6)}
    bad = [(members[n], REFUSAL) for n in (1, 3, 4)]
    bad += [(members[BAD], "node 1: changed"), (members[5], "node 99: changed")]
    found = sort_out([], bad, members)
    assert found.excused == {1, 3, 4}
    assert found.bad == bad


@pytest.mark.parametrize("liars", [(3,), (43,), (3, 23)])
@pytest.mark.parametrize("lost", [(), (13,)])
def test_wrong_shares_are_found_where_others_have_given_enough(liars, lost):
    """7 nodes, t = 5: one liar can be left out; two, or one that is needed, cannot."""

    def another(revealed):
        for liar in liars:
            revealed[liar][13] = revealed[liar][33]

    def none(revealed):
        for liar in liars:
            revealed[liar][13] = b"\xff" * shamir.SHARE

    def nothing(revealed):
        for liar in liars:
            del revealed[liar][13]

    for tamper in (another, none, nothing):
        session = Session(7)
        session.receive()
        if len(liars) == 1:
            total = session.run(0, lost, tamper=tamper)
            there = [i for i in session.nodes if i not in lost]
            assert (total == session.sum(there)).all()
            assert session.false == set(liars)
        else:
            what = "key" if lost else "seed"
            match = rf"shares of the {what} of node 13 are wrong, as one of nodes \["
            with pytest.raises(SecureError, match=match):
                session.run(0, lost, tamper=tamper)
    session = Session(7)
    session.receive()
    with pytest.raises(SecureError, match="node 13 are wrong"):
        session.run(0, (53, 63), tamper=none)


def spoiling(rounds: int) -> Callable[[Message], Message]:
    """A node whose letters nobody can open, in the first rounds."""
    seen = []

    def tamper(reply: Message) -> Message:
        if reply.metadata.src_node_id != BAD or not reply.has_content():
            return reply
        record = reply.content.get(wire.SECURE)
        if isinstance(record, ConfigRecord) and wire.LETTERS in record:
            seen.append(reply)
            if len(seen) <= rounds:
                held = wire.from_by_node(record[wire.LETTERS])
                zeros = {node: bytes(len(text)) for node, text in held.items()}
                record[wire.LETTERS] = wire.by_node(zeros)
        return reply

    return tamper


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, 99])
def test_letters_that_nobody_can_open_cost_rounds_and_no_honest_node(config, rounds):
    keys = config(**PLAIN, **SECURE, **{"client-ranks": "4", "strikes": 2})
    keys |= {"num-server-rounds": 4, "fraction-evaluate": 0.0}
    folder, _, server = run(keys, 5, tamper=spoiling(rounds))
    assert [row.get("clients") for row in server.folder.rows[1:]] == [None, None, 4, 4]
    assert [event["node"] for event in read_events(folder, "node-struck-out")] == [BAD]


@pytest.mark.slow
def test_as_many_nodes_are_drawn_as_a_sum_needs(config):
    keys = config(**PLAIN, **SECURE, **{"client-ranks": "4", "fraction-train": 0.25})
    folder, _, server = run(keys, 8)
    assert [row["clients"] for row in server.folder.rows[1:]] == [3, 3]
    assert not read_events(folder, "model-unchanged")


def test_as_many_nodes_are_waited_for_as_a_sum_needs():
    def needed(secure: bool, available: int) -> tuple[int, str]:
        return Settings(
            run=RunSettings(min_available_nodes=available),
            privacy=PrivacySettings(secure_aggregation=secure, secure_min_nodes=5),
        ).least_nodes

    assert needed(secure=False, available=2) == (2, "min-available-nodes")
    assert needed(secure=True, available=2) == (5, "secure-min-nodes")
    assert needed(secure=True, available=7) == (7, "min-available-nodes")


@pytest.mark.slow
@pytest.mark.parametrize("refit", [0, 4])
def test_a_head_that_was_not_solved_is_solved_after_the_next_round(config, refit):
    """Three nodes, of which all must stay: one that was away once costs round 0."""
    lost: list[Message] = []

    def once(reply: Message) -> Message | None:
        found = dropping(BAD, "evaluate")(reply) if not lost else reply
        if found is None:
            lost.append(reply)
        return found

    keys = config(**SECURE, **{"client-ranks": "4", "head": "ridge"})
    keys |= {"head-refit-every": refit, "num-server-rounds": 2}
    folder, _, server = run(keys, 3, tamper=once)
    solved = [bool(row.get("head_examples")) for row in server.folder.rows]
    assert solved == [False, True, bool(refit)]
    [event] = read_events(folder, "model-unchanged")
    assert event["round"] == 0
    assert event["reason"].startswith("the head is not solved: 2 nodes are left")
    assert server.checkpointer.best["round"] > 0  # no untrained model is the best
    lost.clear()
    again = keys | {"output-dir": keys["output-dir"] + "-again"}
    other = interrupted(again, fails_in=1, tamper=once)
    resumed(again)  # it is still due
    assert_same(folder, other)
