"""Replies are counted as they come, whatever the grid."""

from flwr.app import Message, RecordDict
from flwr.superlink.grid import InMemoryGrid

from ilora_app import client_app
from ilora_app.federation.exchange import exchange
from ilora_app.launch.local_grid import LocalGrid


class Pulled(LocalGrid):
    """Hands out one reply a pull, by the loop of Flower's own grid."""

    pull_interval = 0.0
    send_and_receive = InMemoryGrid.send_and_receive

    def push_messages(self, messages):
        self.waiting = [(f"m{n}", Reply(f"m{n}")) for n, _ in enumerate(messages)]
        return [name for name, _ in self.waiting]

    def pull_messages(self, message_ids):
        if self.waiting and self.waiting[0][0] in message_ids:
            return [self.waiting.pop(0)[1]]
        return []


class Reply:
    """What the loop reads of a message."""

    def __init__(self, name: str) -> None:
        facts = {"reply_to_message_id": name, "src_node_id": int(name[1:]) + 1}
        self.metadata = type("Metadata", (), facts)

    def has_error(self) -> bool:
        return False


def messages(count: int) -> list[Message]:
    return [Message(RecordDict(), n + 1, "query") for n in range(count)]


def test_replies_are_counted_as_they_come():
    grid, came = Pulled(client_app.app, {}, 3), []
    replies = exchange(grid, messages(3), 5.0, lambda nodes: came.append(len(nodes)))
    assert len(replies) == 3
    assert sum(came) == 3, "each is told of once"
    assert "pull_messages" not in vars(grid), "the grid is as it was"
    exchange(grid, messages(2), 5.0, lambda nodes: came.append(len(nodes)))
    assert sum(came) == 5


def test_a_grid_that_answers_at_once_is_counted_at_the_end():
    class AtOnce(LocalGrid):
        def send_and_receive(self, messages, *, timeout=None):
            return list(messages)

    came: list[int] = []
    exchange(
        AtOnce(client_app.app, {}, 2),
        messages(2),
        5.0,
        lambda nodes: came.append(len(nodes)),
    )
    assert came == [2]


def test_nothing_is_sent_to_no_one():
    came: list[int] = []
    assert (
        exchange(
            Pulled(client_app.app, {}, 1),
            [],
            5.0,
            lambda nodes: came.append(len(nodes)),
        )
        == []
    )
    assert came == []
