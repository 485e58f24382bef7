"""What nodes answer to a stage of secure aggregation, read and checked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Message

from ilora_app import wire
from ilora_app.federation.replies import Request
from ilora_app.secure import Advert, KeySet, Ring, Terms


@dataclass
class Costs:
    """What secure aggregation adds to a round: columns of metrics.csv."""

    messages: int = 0
    down: int = 0
    up: int = 0

    def add(self, sent: Sequence[Message], replies: Sequence[Message]) -> None:
        """Add the messages of a stage."""
        contents = [reply.content for reply in replies if reply.has_content()]
        self.messages += len(sent)
        self.down += sum(wire.content_bytes(m.content) for m in sent)
        self.up += sum(wire.content_bytes(content) for content in contents)

    def columns(self) -> dict[str, int | float]:
        """By name."""
        return {
            "messages_secure": self.messages,
            "bytes_down_secure": self.down,
            "bytes_up_secure": self.up,
        }


def advert(terms: Terms, reply: Message, request: Request) -> Advert:
    """Read the keys of a node.

    Raises:
        WireError, SecureError: they are none, or those of another node.

    """
    found = Advert.decoded(_bytes(reply, wire.KEYS), terms.passes)
    found.check()  # else every other node would refuse the whole round
    if found.node != request.member.node_id:
        raise wire.WireError("it has sent the keys of another node")
    return found


def letters(key_set: KeySet, reply: Message, request: Request) -> dict[int, bytes]:
    """Read the sealed letters of a node to all others.

    Raises:
        WireError: one is missing, or is to nobody.

    """
    found = wire.from_by_node(_answer(reply).get(wire.LETTERS))
    if set(found) != set(key_set.by_node) - {request.member.node_id}:
        raise wire.WireError("it has not shared its secrets with all others")
    return found


def signed(reply: Message, _: Request) -> bytes:
    """Read what a node has signed; the other nodes check it."""
    return _bytes(reply, wire.SIGNED)


def shares(peers: Collection[int], reply: Message, _: Request) -> dict[int, bytes]:
    """Read the shares that a node holds of its peers.

    Raises:
        WireError: one is missing, or is of nobody.

    """
    found = wire.from_by_node(_answer(reply).get(wire.SHARES))
    if set(found) != set(peers):
        raise wire.WireError("it has not revealed a share of every node")
    return found


def _answer(reply: Message) -> Any:
    found = reply.content.config_records.get(wire.SECURE)
    if found is None:
        raise wire.WireError("no answer to a step of secure aggregation")
    return found


def _bytes(reply: Message, name: str) -> bytes:
    value = _answer(reply).get(name)
    if not isinstance(value, bytes):
        raise wire.WireError(f"{name}: expected bytes")
    return value


def vector(reply: Message, length: int) -> Ring:
    """Read a masked vector, with what is behind it."""
    return wire.read_masked(reply.content.get(wire.SECURE), length + 1)
