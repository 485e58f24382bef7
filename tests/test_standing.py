"""Whom a run still asks, and how long it waits: silent nodes cost little."""

import time

import pytest
from flwr.app import Message, MessageType

from ilora_app import client_app
from ilora_app.federation import standing
from ilora_app.federation.exchange import exchange
from ilora_app.federation.member import Member
from ilora_app.federation.standing import Standing
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run
from tests.test_exchange import Pulled, messages

SILENT = {3, 997}
"""Node ids of one node, before and after its run was started again."""


def silent(reply: Message) -> Message | None:
    """It says who it is, and nothing more."""
    asked = reply.metadata.message_type != MessageType.QUERY
    return None if asked and reply.metadata.src_node_id in SILENT else reply


@pytest.mark.slow
def test_a_silent_node_is_asked_no_more_and_a_resumed_run_knows_it(
    run_config, tmp_path
):
    """It is interrupted right before the strike that is the last."""
    run_config |= {"num-server-rounds": 3, "strikes": 2}
    whole, _, _ = run(run_config | {"output-dir": str(tmp_path / "a")}, tamper=silent)
    table = metrics(whole)
    assert list(table["asked"].iloc[1:]) == [3, 3, 2]
    assert list(table["clients"].iloc[1:]) == [2, 2, 2]
    (event,) = read_events(whole, "node-struck-out")
    assert (event["node"], event["partition"]) == (3, 2)
    assert "no usable reply in 2 rounds in a row, and strikes is 2" in event["reason"]
    folder = interrupted(run_config, tamper=silent)
    resumed(run_config, tamper=silent)
    assert_same(whole, folder)
    never = {"output-dir": str(tmp_path / "c"), "min-available-nodes": 3}
    folder, _, _ = run(run_config | never, tamper=silent)
    assert list(metrics(folder)["asked"].iloc[1:]) == [3, 3, 3]
    assert not read_events(folder, "node-struck-out")


def member(node: int) -> Member:
    return Member(node_id=node, rank=4, examples=10, partition=node)


def test_only_rounds_in_a_row_count_and_only_those_it_was_asked_in():
    found, members = Standing(strikes=2), [member(node) for node in (1, 2, 3)]
    found.note("train", [1, 3], [2])
    found.note("train", [1], [])  # neither 2 nor 3 was drawn
    found.note("train", [2], [1, 3])
    found.note("train", [1], [2, 3])
    assert [m.node_id for m in found.among(members, 1)] == [1, 2]
    found.note("evaluate", [2], [1])
    found.note("train", [1], [])
    found.note("evaluate", [2], [1])
    assert [m.node_id for m in found.among(members, 1)] == [2], "kind by kind"
    assert [node for node, _ in found.take_new()] == [3, 1]
    assert found.take_new() == []
    assert [m.node_id for m in found.among(members, 3)] == [1, 2, 3]
    found.note("evaluate", [1], [])
    assert [m.node_id for m in found.among(members, 1)] == [1, 2], "it is back"
    forever = Standing(strikes=0)
    for _ in range(9):
        forever.note("train", [], [1])
    assert forever.among(members, 1) == members


class OneSilent(Pulled):
    """Answers for all nodes but the last."""

    pull_interval = 0.05

    def push_messages(self, sent):
        names = super().push_messages(sent)
        self.waiting.pop()
        return names


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.0, 2.0])
def test_a_round_waits_as_long_as_replies_make_likely(monkeypatch, ratio):
    """By the clock, but for a node that is asked for the first time."""
    monkeypatch.setattr(standing, "LEAST_SECONDS", 0.3)
    grid, found = OneSilent(client_app.app, {}, 3), Standing(0, ratio)

    def turn(count: int) -> float:
        sent, nodes = messages(count), list(range(1, count + 1))
        began = time.monotonic()
        seconds = found.wait("train", nodes, 1.5)
        came = exchange(grid, sent, seconds, found.came)
        said = [reply.metadata.src_node_id for reply in came]
        found.note("train", said, [node for node in nodes if node not in said])
        return time.monotonic() - began

    short = turn(2), turn(2), turn(3), turn(3)
    whole = [taken > 1.2 for taken in short]
    assert whole == ([True, False, True, False] if ratio else [True] * 4), short
    found.note("train", [], [1, 2, 3])
    assert found.wait("train", [1, 2, 3], 1.5) == 1.5, "all may have become slower"
    saved = found.saved({1: "0", 2: "1"})
    again = Standing(0, ratio)
    again.load(saved, {"0": -1, "1": -2})
    assert again.saved({-1: "0", -2: "1"}) == saved
