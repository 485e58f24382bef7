"""Hashes of what an exchange has sent to each node and received from it.

A node keeps the hashes of the same messages itself (``node.audit_log``), so that what
the operator says was sent and received can be held against what the node says.
"""

from collections.abc import Callable, Sequence
from typing import Any

from flwr.app import Message

from ilora_app import wire


class Payloads:
    """The hashes of one exchange.

    Args:
        record: is given them, by node: ``sent``, and ``received`` where a content came.

    """

    def __init__(self, record: Callable[..., Any]) -> None:
        self._record = record
        self._sent: dict[str, str] = {}

    def send(self, messages: Sequence[Message]) -> None:
        """Hash what is about to be sent."""
        known: dict[int, bytes] = {}
        for message in messages:
            node = str(message.metadata.dst_node_id)
            self._sent[node] = wire.digest(message.content, known)

    def receive(self, replies: Sequence[Message]) -> None:
        """Hash what came, and record both."""
        received = {
            str(reply.metadata.src_node_id): wire.digest(reply.content)
            for reply in replies
            if reply.has_content()
        }
        self._record(sent=self._sent, received=received)
