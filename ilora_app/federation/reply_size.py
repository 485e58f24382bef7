"""How large a reply may be, known before it is put together in memory.

And which replies there are, asked once for all of them, whereas each is read by itself.

A reply comes as objects: one for each array, and chunks of its data. An array names its
chunks and may name one many times, so that few bytes on the wire become many here. The
objects are counted as they are pulled; that is the one place where Flower's own client
has to be watched.
"""

import json
import threading
from collections.abc import Sequence
from typing import Any

from flwr.app import Array
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
)
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

LEAST = 200.0
"""Megabytes that every reply may have."""

_TIMES = 4
_AT_ONCE = 200
_CLIENT = "_client"  # made when the grid first sends


class Bounded:
    """Refuses objects of a reply, while this lasts, once they are too much.

    Args:
        grid: of a SuperLink; one without objects on the wire is left as it is.
        most: megabytes; 0: 200, and four times what was sent.
        sent: bytes of the message that is replied to.
        head: the answer to who asks for messages, where it has come; see ``heads``.

    """

    def __init__(
        self, grid: Grid, most: float, sent: int, head: Any | None = None
    ) -> None:
        self._grid = grid
        self._client: Any = vars(grid).get(_CLIENT)
        self._most = most * 1e6 or LEAST * 1e6 + _TIMES * sent
        self._head = head
        self._held, self._lock = 0, threading.Lock()

    def __enter__(self) -> "Bounded":
        """Stand before the grid's client."""
        if self._client is not None:
            vars(self._grid)[_CLIENT] = self
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the grid as it was."""
        if self._client is not None:
            vars(self._grid)[_CLIENT] = self._client

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the client."""
        return getattr(self._client, name)

    def PullMessages(self, request: Any) -> Any:
        """Give the head that has come, or ask for it."""
        return self._client.PullMessages(request) if self._head is None else self._head

    def PullObject(self, request: Any) -> Any:
        """Pull an object, and count it.

        Raises:
            ObjectPullError: it would make the reply too large.

        """
        response = self._client.PullObject(request)
        content = response.object_content
        with self._lock:
            self._held += max(len(content), _unpacked(content))
            if self._held > self._most:
                raise ObjectPullError(
                    request.object_id,
                    f"it has more than {self._most / 1e6:.0f} MB, the limit that "
                    "max-reply-megabytes sets",
                )
        return response


def heads(grid: Grid, names: Sequence[str]) -> dict[str, Any] | None:
    """Ask a SuperLink which of these messages have been answered.

    A request for all of them instead of one each: a round of many nodes would keep the
    SuperLink busy with what has not come yet. It holds what it gives out for delivered.

    Returns:
        Its answer for each message that has one; None for a grid without a SuperLink.

    """
    client: Any = vars(grid).get(_CLIENT)
    if client is None:
        return None
    found = {}
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        answer = client.PullMessages(PullAppMessagesRequest(message_ids=some))
        pairs = zip(answer.messages_list, answer.message_object_trees, strict=True)
        for message, tree in pairs:
            one = PullAppMessagesResponse(
                messages_list=[message], message_object_trees=[tree]
            )
            found[message.metadata.reply_to_message_id] = one
    return found


def _unpacked(content: bytes) -> int:
    """Bytes that an array says its chunks have, without the last; else 0."""
    try:
        if get_object_type_from_object_content(content) != Array.__qualname__:
            return 0
        chunks = json.loads(get_object_body(content, Array))["arraychunk_ids"]
        return max(len(chunks) - 1, 0) * FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
    except Exception:  # Flower will say what is wrong with it
        return 0
