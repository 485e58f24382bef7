"""Who takes part, in which order, and who is drawn."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from ilora_app import wire
from ilora_app.federation.member import Member
from ilora_app.federation.membership import Membership
from ilora_app.federation.participation import Participation
from ilora_app.federation.waiting import FederationError


def member(partition: int | None, node_id: int) -> Member:
    return Member(node_id=node_id, rank=4, examples=10, partition=partition)


def test_order_is_by_partition_and_only_then_by_node_id():
    members = [member(None, 3), member(1, 9), member(None, 2), member(0, 50)]
    ordered = sorted(members, key=lambda m: m.order)
    assert [m.node_id for m in ordered] == [50, 9, 2, 3]


def test_nodes_with_data_of_their_own_are_in_the_order_of_how_much_it_is():
    """Whatever their names are: these are made of keys, which may be drawn anew."""
    for names in ("abc", "cab", "bca"):
        members = [
            Member(node_id=9 - n, rank=4, examples=10 * n, identity=name)
            for n, name in enumerate(names, start=1)
        ]
        ordered = sorted(members, key=lambda m: m.order)
        assert [m.examples for m in ordered] == [10, 20, 30]


def test_sampling_does_not_see_node_ids():
    one = [member(i, 100 + i) for i in range(10)]
    other = [member(i, 900 - i) for i in range(10)]
    for turn in range(5):
        draw = Participation(fraction_train=0.3).draw_train
        first = [m.partition for m in draw(one, turn)]
        second = [m.partition for m in draw(other, turn)]
        assert first == second == sorted(first)


@pytest.mark.parametrize(
    ("fraction", "least", "size"),
    [(1.0, 1, 10), (0.5, 1, 5), (0.0, 4, 0), (0.1, 3, 3), (0.1, 30, 10), (0.05, 0, 0)],
)
def test_sample_size(fraction, least, size):
    members = [member(i, i) for i in range(10)]
    drawn = Participation(fraction_train=fraction, min_train_nodes=least)
    assert len(drawn.draw_train(members, 1)) == size
    drawn = Participation(fraction_evaluate=fraction, min_evaluate_nodes=least)
    assert len(drawn.draw_evaluate(members, 1)) == size


@pytest.mark.parametrize(
    ("identity", "node_id", "rank"),
    [("b", 7, 4), ("b", 1, 4), ("new", 1, 2), ("new", 7, 8), ("", 7, 8)],
)
def test_a_node_that_comes_back_is_known_by_its_name_and_then_by_its_id(
    identity, node_id, rank
):
    federation = Membership()
    federation.expect(
        Member(node_id=home, rank=r, examples=10, identity=name, home=home)
        for home, name, r in ((1, "a", 2), (2, "b", 4))
    )
    back = Member(node_id=node_id, rank=8, examples=10, identity=identity, home=node_id)
    assert federation._restore_place(back, 0, {node_id}).rank == rank


class SlowGrid:
    """One node, which needs so many seconds to say its rank."""

    def __init__(self, seconds: float) -> None:
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
        self.seconds = seconds
        self.given: list[float] = []

    def get_node_ids(self):
        return [7]

    def push_messages(self, messages):
        raise NotImplementedError

    pull_messages = push_messages

    def send_and_receive(self, messages, *, timeout):
        self.given.append(timeout)
        if timeout < self.seconds:
            return []
        [question] = messages
        question.metadata.__dict__["_message_id"] = "question"
        facts = ConfigRecord({wire.RANK: 4, wire.EXAMPLES: 10})
        reply = Message(RecordDict({wire.CONFIG: facts}), reply_to=question)
        reply.metadata.__dict__["_src_node_id"] = 7
        return [reply]


def test_a_slow_newcomer_gets_more_time_until_it_is_in():
    grid, federation = SlowGrid(200), Membership()
    came = [federation.present(grid, 0, 600.0) for _ in range(4)]
    assert [len(present) for present in came] == [0, 0, 1, 1]
    assert grid.given == [60, 120, 240]


def test_who_the_run_needs_is_asked_until_it_is_in():
    grid, federation = SlowGrid(200), Membership()
    assert len(federation.present(grid, 1, 600.0)) == 1
    assert grid.given == [60, 120, 240]


def test_a_run_waits_for_nobody_longer_than_for_a_round():
    grid, federation = SlowGrid(10_000), Membership()
    assert federation.present(grid, 1, 600.0) == []
    assert grid.given == [60, 120, 240, 180]
    with pytest.raises(FederationError, match=r"round 3:\n  - no answer .* 180 s \(1"):
        federation.some([], 3)


def test_a_newcomer_gets_no_more_time_than_a_round():
    grid, federation = SlowGrid(200), Membership()
    assert [federation.present(grid, 0, 90.0) for _ in range(3)] == [[], [], []]
    assert grid.given == [60, 90, 90]
    assert federation.present(grid, 0, 90.0) == []
    assert grid.given == [60, 90, 90], "three times in a row are enough"
    ((node, reason),) = federation.standing.take_new()
    assert node == 7
    assert "no usable reply in 3 rounds in a row" in reason
