"""Members that only wait cost a round no bytes, and a newcomer no work."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.members import ROUNDS, Waiting, measure
from ilora_app.federation.member import Member
from ilora_app.federation.membership import Membership
from ilora_app.federation.roster import Roster
from ilora_app.runs.checkpoint import Checkpoints

APP = str(Path(__file__).parents[1] / "ilora_app")


def calls(work) -> int:
    """Count calls of the app's functions, and steps of its generators."""
    found: Counter[str] = Counter()

    def note(frame, event, _):
        if event == "call":
            found[frame.f_code.co_filename.startswith(APP)] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found[True]


@pytest.mark.parametrize("known_by", ["key", "partition"])
def test_a_newcomer_is_taken_in_without_going_through_the_others(known_by):
    """The logarithm of the members remains: what a search in a sorted list takes."""
    found = []
    for members in (50, 800):
        grid, federation = Waiting(members + ROUNDS), Membership(known_by=known_by)
        federation.meet(grid, 60.0)
        grid.there += 1
        found.append(calls(lambda f=federation, g=grid: f.meet(g, 60.0)))
        assert len(federation.members) == members + 1
    assert found[1] <= found[0] + 8


def test_taking_in_all_at_once_grows_with_their_number():
    found = []
    for members in (100, 800):
        grid = Waiting(members + ROUNDS)
        found.append(calls(lambda g=grid: Membership(known_by="key").meet(g, 60.0)))
    assert found[1] <= 8.1 * found[0]


def test_those_that_wait_cost_a_round_no_bytes(tmp_path):
    few, many = (measure(n, tmp_path / str(n)) for n in (40, 400))
    for name in ("events", "checkpoint", "logged"):
        one, other = getattr(few, name), getattr(many, name)
        assert other < 1.05 * one + 100, name
    checkpoint = Checkpoints(tmp_path / "400").load()
    assert len(checkpoint.facts["members"]) == 400
    assert checkpoint.round == ROUNDS


def member(node: int, partition: int | None = None, **more) -> Member:
    return Member(node, 4, 10, partition=partition, home=abs(node), **more)


def test_a_roster_finds_members_by_all_that_they_are_known_by():
    roster = Roster()
    for node in (5, 3, -1, 9):
        roster.put(member(node, 20 - node, identity=f"n{node}"))
    roster.put(member(7, 15))
    assert [m.node_id for m in roster] == [9, 7, 5, 3, -1]
    assert roster.first_holder(15, beside=5).node_id == 7
    assert roster.first_holder(21, beside=4) is None, "it is away"
    assert [m.node_id for m in roster.named("n9")] == [9]
    assert [m.node_id for m in roster.first_met_as(1)] == [-1]
    assert roster.named("") == []
    roster.put(Member(7, 2, 10, partition=15))
    assert roster.ranks == {4: 4, 2: 1}
    assert roster.remove(7).rank == 2
    assert roster.remove(7) is None
    assert (7 in roster, len(roster), dict(roster.ranks)) == (False, 4, {4: 4})
    assert roster.first_holder(15, beside=5) is None
