"""Nodes of a simulation import their libraries while the server imports its own."""

import os
import time

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

WAKE = "query.wake"
_PATIENCE = 1.0


def wake(grid: Grid) -> None:
    """Send as many messages as there can be processes; their replies are not read.

    Flower's simulation engine gives each to a process that is free, and its nodes are
    there when a ServerApp starts, or a moment later. On real nodes a message is a
    process of its own, which would be for nothing: none is sent.
    """
    if not isinstance(grid, InMemoryGrid):
        return
    until = time.monotonic() + _PATIENCE
    while not (nodes := sorted(grid.get_node_ids())) and time.monotonic() < until:
        time.sleep(0.05)
    grid.push_messages(
        Message(RecordDict(), dst_node_id=node, message_type=WAKE)
        for node in nodes[: os.cpu_count()]
    )
