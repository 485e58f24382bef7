"""Nodes of a simulation import their libraries while the server imports its own."""

import os
import time
from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

WAKE = "query.wake"
_TRIES, _POLL = 20, 0.05


def wake(grid: Grid) -> list[str]:
    """Send as many messages as there can be processes, and return their ids.

    Flower's simulation engine gives each to a process that is free, and its nodes are
    there when a ServerApp starts, or a moment later. On real nodes a message is a
    process of its own, which would be for nothing: none is sent.
    """
    if not isinstance(grid, InMemoryGrid):
        return []
    nodes: list[int] = []
    for again in range(_TRIES):  # a count, as a full machine may take long for one
        time.sleep(_POLL if again else 0)
        if nodes := sorted(grid.get_node_ids()):
            break
    return list(
        grid.push_messages(
            Message(RecordDict(), dst_node_id=node, message_type=WAKE)
            for node in nodes[: os.cpu_count()]
        )
    )


def settle(grid: Grid, woken: Iterable[str], timeout: float) -> None:
    """Wait until the woken nodes have answered, for ``timeout`` seconds at most.

    The engine hands a message a copy of its node's state and keeps what it ends with:
    of two that a node has at once, the slower one undoes what the other has kept.
    """
    left, until = set(woken), time.monotonic() + timeout
    while left and time.monotonic() < until:
        left -= {m.metadata.reply_to_message_id for m in grid.pull_messages(left)}
        time.sleep(_POLL if left else 0)
