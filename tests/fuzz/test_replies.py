"""Whatever one node replies, a round is the others', and the next one works."""

from functools import cache
from typing import Any

import pytest
from flwr.app import Message, MessageType
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.federation import BAD, JOBS, RANKS, Outcome, federate
from tests.fuzz.lies import lies
from tests.fuzz.telling import tell

KINDS = (MessageType.TRAIN, MessageType.TRAIN, MessageType.EVALUATE, MessageType.QUERY)


def honest(reply: Message) -> list[Message]:
    return [reply]


@cache
def undisturbed(name: str) -> Outcome:
    outcome = federate(JOBS[name], honest, RANKS)
    assert not of_kind(outcome, "reply-left-out")
    return outcome


def of_kind(outcome: Outcome, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in outcome.events if event["event"] in kinds]


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=3)
@given(told=lies(), kind=st.sampled_from(KINDS), number=st.sampled_from([1, 2]))
def test_a_reply_costs_no_more_than_itself(name, told, kind, number):
    """In one round, or in the answer to the first question of all."""
    said = []

    def lie(reply: Message) -> list[Message]:
        if reply.metadata.message_type != kind:
            return [reply]
        said.append(reply)
        return tell(told, reply) if len(said) == number else [reply]

    outcome = federate(JOBS[name], lie, RANKS)
    assert [row["round"] for row in outcome.rows] == [0, 1, 2, 3]
    assert not outcome.untrained
    for row in outcome.rows[1:]:
        assert row["clients"] >= len(RANKS) - 1, "the honest ones are aggregated"
    assert outcome.rows[-1]["clients"] == len(RANKS) or kind == MessageType.QUERY
    check(outcome, undisturbed(name))


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=3)
@given(told=lies(), others=lies(), few=st.booleans())
def test_where_everybody_lies_the_run_goes_on(name, told, others, few):
    """Nobody can say what is right then: the model stays finite, and that is all.

    Where no reply of any round was used, the run says so at its end.
    """

    def lie(reply: Message) -> list[Message]:
        if reply.metadata.message_type == MessageType.QUERY:
            return [reply]
        even = reply.metadata.src_node_id % 2 == 0
        return tell(told if even else others, reply)

    ranks = RANKS[:2] if few else RANKS
    outcome = federate(JOBS[name], lie, ranks, rounds=2, everybody=True)
    assert [row["round"] for row in outcome.rows] == [0, 1, 2]
    used = any(row.get("clients") for row in outcome.rows[1:])
    assert used == (not outcome.untrained)
    assert all(line.isprintable() for line in outcome.untrained.split("\n"))
    for model in outcome.models:
        assert all(value.isfinite().all() for value in model.values())
    for event in outcome.events:
        assert str(event.get("reason", "-")).isprintable()
        assert event.get("reason") != ""


def check(outcome: Outcome, usual: Outcome) -> None:
    """The model is sound, and whoever is left out is named in one line."""
    for number in range(len(outcome.models)):
        for value in outcome.models[number].values():
            assert value.isfinite().all()
        if number:
            assert 0 < outcome.moved(number) < 5 * usual.size(), f"round {number}"
    assert all(row["accuracy"] == 0.25 for row in outcome.rows), "the server's own"
    out = of_kind(outcome, "reply-left-out", "node-left-out", "update-shrunk")
    for event in out:
        assert event["node"] == BAD
        assert event["reason"]
        assert event["reason"].isprintable(), event["reason"]
        assert len(event["reason"]) < 5000
    for row in outcome.rows[1:]:
        named = [e for e in out if e.get("round") in (row["round"], None)]
        assert named or row["clients"] == len(RANKS)
