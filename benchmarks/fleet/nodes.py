"""SuperNodes without a model: threads of one process, over Flower's own connection."""

import threading
import time
from contextlib import suppress
from typing import Any

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supernode.fleet_http_connection import http_request_response

from benchmarks.fleet.fleet_app import content

_EVERY = 3.0
"""Seconds between two questions of a SuperNode for a message."""


class Nodes:
    """So many identities, each with a thread, a key, heartbeats and connections.

    Args:
        address: of the SuperLink, without TLS.
        number: of nodes.

    """

    def __init__(self, address: str, number: int) -> None:
        self._address = address
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.connected = self.polls = self.replies = self.requests = 0
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._serve, args=(n,), daemon=True)
            for n in range(number)
        ]

    def start(self, every: float) -> None:
        """Start them one after the other, so many seconds apart."""
        for thread in self._threads:
            thread.start()
            time.sleep(every)

    def stop(self) -> None:
        """Have them sign off."""
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def _serve(self, number: int) -> None:
        with http_request_response(self._address, insecure=True) as connection:
            _, receive, send, _, _, pull, push, confirm = connection
            self._count(connected=1)
            turn = 0
            while not self._end.is_set():
                found = None
                with suppress(Exception):  # the run may have ended meanwhile
                    found = receive()
                self._count(polls=1)
                if found is None:
                    self._end.wait(_EVERY)
                    continue
                turn += 1
                try:
                    asked = self._answer(
                        *found, number, turn, send, pull, push, confirm
                    )
                    self._count(replies=1, requests=asked)
                except Exception as error:
                    self.failures.append(f"{type(error).__name__}: {error}"[:200])

    def _answer(
        self, asked: Message, tree: Any, number: int, turn: int, *calls: Any
    ) -> int:
        """Pull a message, and push an answer; returns the requests that it took."""
        send, pull, push, confirm = calls
        run = asked.metadata.run_id
        names = list({one.object_id for one in iterate_object_tree(tree)})
        # The ServerApp may still be pushing them: this asks again.
        pull_objects(names, lambda name: pull(run, name), max_concurrent_pulls=2)
        confirm(run, asked.metadata.message_id)
        # What is in it is of the same kind as what was asked.
        reply = Message(
            content(asked.metadata.group_id, 10_000 * (number + 1) + turn),
            reply_to=asked,
        )
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            objects = get_all_nested_objects(reply)
            wanted, session = send(reply, get_object_tree(reply), 1.0)
            for name in wanted:
                push(run, session, name, objects[name].deflate())
        return len(names) + len(wanted) + 3
