"""Sends messages and waits for the replies, and says how many have come."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from flwr.app import Message
from flwr.serverapp import Grid


def exchange(
    grid: Grid,
    messages: list[Message],
    timeout: float,
    came: Callable[[int], None],
) -> list[Message]:
    """Send and receive.

    Args:
        grid: of the run.
        messages: one for each node that is asked.
        timeout: seconds to wait for replies.
        came: is told how many replies there are, whenever there are more.

    """
    if not messages:
        return []
    with _counted(grid, came) as count:
        replies = list(grid.send_and_receive(messages, timeout=timeout))
    if len(replies) > count():
        came(len(replies))
    return replies


@contextmanager
def _counted(grid: Grid, came: Callable[[int], None]) -> Iterator[Callable[[], int]]:
    """Count the messages that the grid pulls while this lasts.

    Flower's grids send and then pull what has come, again and again, in one call that
    ends with the last reply; nothing else tells how far it is.
    """
    pull, total = grid.pull_messages, 0

    def counting(message_ids: Iterable[str]) -> Iterable[Message]:
        nonlocal total
        found = list(pull(message_ids))
        if found:
            total += len(found)
            came(total)
        return found

    vars(grid)["pull_messages"] = counting
    try:
        yield lambda: total
    finally:
        del vars(grid)["pull_messages"]
