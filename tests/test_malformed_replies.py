"""What a node uploads is read by Flower's own grid, and ends that reply alone."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.proto.runtime_pb2 import PullAppMessagesResponse, PushAppMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    get_object_type_from_object_content,
)
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from ilora_app.federation.exchange import exchange

Spoil = Callable[[bytes], bytes]


class Link:
    """The transport below Flower's grid: three nodes' replies, one of them spoilt."""

    def __init__(self, spoil: Spoil, kind: str, values: np.ndarray) -> None:
        self.spoil, self.kind, self.values = spoil, kind, values
        self.confirmed: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.replies: dict[str, Message] = {}

    def PushMessages(self, request: Any) -> Any:
        for proto in request.messages_list:
            node = proto.metadata.dst_node_id
            record = ArrayRecord({"w": Array(self.values + node)})
            content = RecordDict(
                {"arrays": record, "config": ConfigRecord({"n": node})}
            )
            asked = Message(RecordDict(), node, "train")
            asked.metadata.__dict__["_message_id"] = proto.metadata.message_id
            reply = Message(content, reply_to=asked)
            reply.metadata.__dict__.update(_src_node_id=node, _run_id=1)
            reply.metadata.__dict__["_message_id"] = reply.object_id
            found = get_all_nested_objects(reply)
            raw = {name: part.deflate() for name, part in found.items()}
            if node == 2:
                raw = {n: self._spoilt(c) for n, c in raw.items()}
            self.objects |= raw
            self.replies[proto.metadata.message_id] = reply
        names = [proto.metadata.message_id for proto in request.messages_list]
        return PushAppMessagesResponse(message_ids=names)

    PushObject = staticmethod(lambda request: None)

    def _spoilt(self, content: bytes) -> bytes:
        kind = get_object_type_from_object_content(content)
        return self.spoil(content) if kind == self.kind else content

    def PullMessages(self, request: Any) -> Any:
        there = [self.replies.pop(n) for n in request.message_ids if n in self.replies]
        return PullAppMessagesResponse(
            messages_list=[message_to_proto(message) for message in there],
            message_object_trees=[get_object_tree(message) for message in there],
        )

    def PullObject(self, request: Any) -> Any:
        content = self.objects[request.object_id]
        return PullObjectResponse(
            object_found=True, object_available=True, object_content=content
        )

    def ConfirmMessageReceived(self, request: Any) -> None:
        self.confirmed.append(request.message_object_id)


def body(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Spoil:
    """Change what an object says of itself."""

    def spoil(content: bytes) -> bytes:
        head, _, text = content.partition(b"\0")
        return head + b"\0" + json.dumps(change(json.loads(text))).encode()

    return spoil


def claim(**metadata: Any) -> Spoil:
    """Speak for another: Flower reads who sends from what the sender has written."""

    def spoil(content: bytes) -> bytes:
        head, _, text = content.partition(b"\0")
        proto = ProtoMessage.FromString(text)
        for name, value in metadata.items():
            setattr(proto.metadata, name, value)
        return head + b"\0" + proto.SerializeToString()

    return spoil


def cut(content: bytes) -> bytes:
    return content.partition(b"\0")[0] + b"\0"


SPOILT: dict[str, tuple[str, Spoil]] = {
    "no JSON": ("Array", lambda c: c.partition(b"\0")[0] + b"\0{{{"),
    "no text": ("Array", lambda c: c.partition(b"\0")[0] + b"\0\xff\xfe"),
    "an empty body": ("Array", cut),
    "nothing": ("Array", lambda c: b""),
    "no such chunk": ("Array", body(lambda m: m | {"arraychunk_ids": [7]})),
    "chunks that are no list": ("Array", body(lambda m: m | {"arraychunk_ids": 3})),
    "no chunks": ("Array", body(lambda m: m | {"arraychunk_ids": []})),
    "no keys": ("Array", body(lambda m: {})),
    "another kind": ("ArrayRecord", lambda c: c.replace(b"ArrayRecord", b"Array", 1)),
    "a message of garbage": ("Message", lambda c: b"Message  3\0abc"),
    "another's name": ("Message", claim(src_node_id=1)),
    "an answer to what another was asked": (
        "Message",
        claim(reply_to_message_id="of another"),
    ),
    "a config of garbage": ("ConfigRecord", lambda c: c + b"\xff"),
}


def ask(
    link: Link, most: float = 0.0, timeout: float = 1.0
) -> tuple[list[Message], list[int]]:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    grid = HttpGrid(token="none")
    grid._client, grid._run = link, SimpleNamespace(run_id=1)  # type: ignore[assignment]
    messages = [Message(RecordDict(), node, "train") for node in (1, 2, 3)]
    came: list[int] = []
    replies = exchange(grid, messages, timeout, lambda n: came.append(len(n)), most)
    assert grid._client is link, "the grid is as it was"
    return sorted(replies, key=lambda r: r.metadata.src_node_id), came


@pytest.mark.parametrize("name", SPOILT)
def test_a_malformed_object_is_an_error_of_its_node_and_loses_no_other(name):
    kind, spoil = SPOILT[name]
    replies, came = ask(Link(spoil, kind, np.zeros(4, dtype=np.float32)))
    assert [r.metadata.src_node_id for r in replies] == [1, 2, 3]
    assert [r.has_error() for r in replies] == [False, True, False]
    assert "its reply cannot be read" in str(replies[1].error.reason)
    assert "\n" not in str(replies[1].error.reason)
    assert float(replies[2].content["arrays"]["w"].numpy()[0]) == 3.0
    assert came[-1] == 3


def test_one_request_says_which_replies_are_there():
    """However many nodes a round waits for; what is not there costs nothing more."""
    link, asked = Link(lambda c: c, "Array", np.zeros(4, dtype=np.float32)), []
    pull = link.PullMessages

    def late(request: Any) -> Any:
        asked.append(len(request.message_ids))
        some = list(request.message_ids)[: 1 if len(asked) == 1 else None]
        return pull(SimpleNamespace(message_ids=some))

    link.PullMessages = late  # type: ignore[method-assign]
    replies, came = ask(link, timeout=30.0)
    assert not any(reply.has_error() for reply in replies)
    assert asked == [3, 2]
    assert came == [1, 2]  # each is told once


def test_a_reply_is_too_large_before_it_is_put_together():
    repeated = body(lambda m: m | {"arraychunk_ids": [0] * 1000})
    link = Link(repeated, "Array", np.zeros(4, dtype=np.float32))
    replies, _ = ask(link)
    assert [r.metadata.src_node_id for r in replies] == [1, 2, 3]
    assert [r.has_error() for r in replies] == [False, True, False]
    assert "max-reply-megabytes" in str(replies[1].error.reason)
    assert len(link.confirmed) == 2, "it was never taken"


def test_the_limit_can_be_set():
    honest = Link(lambda c: c, "Array", np.zeros(500_000, dtype=np.float32))
    replies, _ = ask(honest, most=1.0)
    assert all("than 1 MB" in str(r.error.reason) for r in replies)
    honest = Link(lambda c: c, "Array", np.zeros(500_000, dtype=np.float32))
    replies, _ = ask(honest, most=3.0)
    assert not any(r.has_error() for r in replies)


def test_a_superlink_that_is_away_is_no_fault_of_a_node():
    link = Link(lambda c: c, "Array", np.zeros(4, dtype=np.float32))

    def away(request: Any) -> Any:
        raise httpx.ConnectError("refused")

    link.PullMessages = away  # type: ignore[method-assign]
    with pytest.raises(httpx.ConnectError):
        ask(link)
