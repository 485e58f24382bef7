"""Sends messages and waits for the replies: one by one, whatever is in them.

Flower's grids send, and then pull what has come, again and again, in one call that ends
with the last reply. One pull asks for the replies of all nodes, tells the SuperLink
that each has arrived, and only then reads it: what a malformed one raises loses those
of the others. So here one request says which are there, and each of these is then
pulled by itself: what cannot be read, or is larger than a reply may be, is an error of
its node.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from ilora_app import wire
from ilora_app.federation.payloads import Payloads
from ilora_app.federation.reply_size import Bounded, heads
from ilora_app.federation.spool import Spool

_LINK = (httpx.HTTPError, ConnectionError)
"""What says of the SuperLink that it is away, and nothing of a reply."""


def exchange(
    grid: Grid,
    messages: list[Message],
    timeout: float,
    came: Callable[[Sequence[int]], None],
    most: float = 0.0,
    spool: Spool | None = None,
    payloads: Payloads | None = None,
) -> list[Message]:
    """Send and receive.

    Args:
        grid: of the run.
        messages: one for each node that is asked.
        timeout: seconds to wait for replies.
        came: is told whose replies have come, whenever there are more: each once.
        most: megabytes of a reply; 0: several times what was sent.
        spool: takes replies out of memory as they come.
        payloads: hashes what is sent, and what comes.

    """
    if not messages:
        return []
    if payloads:
        payloads.send(messages)
    with _Pulling(grid, came, most, spool) as pulling:
        replies = list(grid.send_and_receive(messages, timeout=timeout))
    there = set(pulling.came)  # none where a grid hands out all at once
    others = [n for reply in replies if (n := _sender(reply)) not in there]
    if others:
        came(others)
    if payloads:
        payloads.receive(replies)
    return replies


def reason_of(reply: Message) -> str:
    """Why a node has sent an error instead of a content: one line, and never empty."""
    said = str(reply.error.reason) if reply.has_error() else "an empty answer"
    return wire.readable(said) or "an error without a reason"


class _Pulling:
    """Stands before a grid's ``push_messages`` and ``pull_messages`` for a while."""

    def __init__(
        self,
        grid: Grid,
        tell: Callable[[Sequence[int]], None],
        most: float,
        spool: Spool | None,
    ) -> None:
        self._grid, self._tell, self._most = grid, tell, most
        self._spool = spool
        self._push, self._pull = grid.push_messages, grid.pull_messages
        self._asked: dict[str, Message] = {}
        self.came: list[int] = []

    def __enter__(self) -> "_Pulling":
        """Take their place."""
        vars(self._grid).update(push_messages=self.push, pull_messages=self.pull)
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the grid as it was."""
        for name in ("push_messages", "pull_messages"):
            del vars(self._grid)[name]

    def push(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send, and keep in mind who was asked by which message."""
        messages = list(messages)
        found = list(self._push(messages))
        pairs = zip(found, messages, strict=True)
        self._asked |= {name: message for name, message in pairs if name}
        return found

    def pull(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What has come, one by one."""
        names, found = list(message_ids), []
        there = heads(self._grid, names)
        for name in names if there is None else there:
            found += self._one(name, there and there[name])
        if found:
            new = [_sender(reply) for reply in found]
            self.came += new
            self._tell(new)
        return found

    def _one(self, name: str, head: Any) -> list[Message]:
        asked = self._asked.get(name)
        sent = wire.content_bytes(asked.content) if asked else 0
        try:
            with Bounded(self._grid, self._most, sent, head):
                found = list(self._pull([name]))
        except _LINK:
            raise
        except Exception as error:  # whatever it is, it ends this reply and no run
            if asked is None:
                raise
            return [_fault(asked, name, f"{type(error).__name__}: {error}")]
        if asked:
            found = [_checked(reply, asked, name) for reply in found]
        if self._spool:
            for reply in found:
                self._spool.message(reply)
        return found


def _checked(reply: Message, asked: Message, name: str) -> Message:
    """See that a reply speaks for who was asked.

    The SuperLink checks whose it is by its head. What Flower reads here is in the
    message itself, which the node has written.
    """
    says = reply.metadata.src_node_id, reply.metadata.reply_to_message_id
    if says == (_receiver(asked), name):
        return reply
    # An error of Flower's own comes in the name of the SuperLink.
    reason = "it says that it is another's"
    return _fault(asked, name, str(reply.error.reason) if reply.has_error() else reason)


def _fault(asked: Message, name: str, reason: str) -> Message:
    """An error in the name of the node that was asked."""
    text = wire.readable(f"its reply cannot be read: {reason}")
    reply = Message(Error(ErrorCode.MESSAGE_UNAVAILABLE, text), reply_to=asked)
    reply.metadata.__dict__["_reply_to_message_id"] = name
    return reply


def _sender(message: Message) -> int:
    return int(message.metadata.src_node_id)


def _receiver(message: Message) -> int:
    return int(message.metadata.dst_node_id)
