"""How large a reply may be, known before it is put together in memory.

A reply comes as objects: one for each array, and chunks of its data. An array names its
chunks and may name one many times, so that few bytes on the wire become many here. The
objects are counted as they are pulled; that is the one place where Flower's own client
has to be watched.
"""

import json
import threading
from typing import Any

from flwr.app import Array
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError

LEAST = 200.0
"""Megabytes that every reply may have."""

_TIMES = 4
_CLIENT = "_client"  # made when the grid first sends


class Bounded:
    """Refuses objects of a reply, while this lasts, once they are too much.

    Args:
        grid: of a SuperLink; one without objects on the wire is left as it is.
        most: megabytes; 0: 200, and four times what was sent.
        sent: bytes of the message that is replied to.

    """

    def __init__(self, grid: Grid, most: float, sent: int) -> None:
        self._grid = grid
        self._client: Any = vars(grid).get(_CLIENT)
        self._most = most * 1e6 or LEAST * 1e6 + _TIMES * sent
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


def _unpacked(content: bytes) -> int:
    """Bytes that an array says its chunks have, without the last; else 0."""
    try:
        if get_object_type_from_object_content(content) != Array.__qualname__:
            return 0
        chunks = json.loads(get_object_body(content, Array))["arraychunk_ids"]
        return max(len(chunks) - 1, 0) * FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE
    except Exception:  # Flower will say what is wrong with it
        return 0
