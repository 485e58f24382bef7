"""Members of a federation: what a node that takes part says of itself."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from logging import WARNING

from flwr.app import ConfigRecord, RecordDict
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.identity import claimed

_MOST_PARTS = 1_000_000


@dataclass(frozen=True)
class Member:
    """A node that takes part, with what it said of itself.

    Attributes:
        identity: its name, which stays where its node id changes: made of its key, or
            what it calls itself (``federation.identity``); empty for none.
        home: the node id with which it was first met.

    """

    node_id: int
    rank: int
    examples: int
    held_out: int = 0
    partition: int | None = None
    partitions: int | None = None
    identity: str = ""
    home: int = 0

    @property
    def order(self) -> tuple[bool, int, int, str, int]:
        """Sort key: node ids are random in every run, partition ids are not.

        Nodes with data of their own are told apart by how much it is before they are
        by their names, which are made of keys that are drawn anew now and then.
        """
        alone = self.partition is None
        size = self.examples if alone else 0
        return (alone, self.partition or 0, size, self.identity, self.node_id)

    def at_rank(self, rank: int) -> "Member":
        """Make the same member at another rank."""
        return self if rank == self.rank else replace(self, rank=rank)

    def __str__(self) -> str:
        part = "" if self.partition is None else f" (partition {self.partition})"
        return f"node {self.node_id}{part}"


@dataclass(frozen=True)
class Rejoin:
    """A member that has another node id than before.

    Attributes:
        old, new: its node ids.
        restored: it has kept its own state.
        rank: that it goes on with where it is smaller than before; else None.

    """

    old: int
    new: int
    restored: bool
    rank: int | None = None


def read(
    node: int, content: RecordDict, largest_rank: int | None
) -> tuple[Member, int]:
    """Read what a node says of itself, and the round whose state it has kept.

    Raises:
        WireError: it cannot take part, or what it says makes no sense.

    """
    facts = content.get(wire.CONFIG)
    if not isinstance(facts, ConfigRecord):
        raise wire.WireError("its answer has no config record")
    if facts.get(wire.PROBLEM):
        raise wire.WireError(wire.readable(str(facts[wire.PROBLEM]), 4000))
    rank, examples = facts.get(wire.RANK), facts.get(wire.EXAMPLES)
    if type(rank) is not int or rank < 1:
        raise wire.WireError(f"{wire.RANK} = {rank!r}: expected 1 or more")
    if type(examples) is not int or examples < 1:
        raise wire.WireError(f"{wire.EXAMPLES} = {examples!r}: expected 1 or more")
    if largest_rank is not None and rank > largest_rank:
        log(
            WARNING,
            "node %d offers rank %d; it trains at %d, the largest rank of this run",
            node,
            rank,
            largest_rank,
        )
        rank = largest_rank
    held_out = facts.get(wire.HELD_OUT)
    kept = facts.get(wire.STATE_ROUND)
    member = Member(
        node_id=node,
        rank=rank,
        examples=examples,
        held_out=held_out if type(held_out) is int and held_out > 0 else 0,
        **_part(facts.get(wire.PARTITION), facts.get(wire.PARTITIONS)),
        identity=claimed(facts.get(wire.IDENTITY)),
        home=node,
    )
    return member, kept if type(kept) is int else 0


def most_say(members: Iterable[Member]) -> int:
    """Read how many parts there are from what most members say; 0 where none says."""
    said = Counter(member.partitions for member in members if member.partitions)
    return max(said, key=lambda parts: (said[parts], -parts), default=0)


def _part(number: object, of: object) -> dict[str, int]:
    """Read which part of how many a node holds; nothing where that makes no sense."""
    if type(number) is not int or type(of) is not int:
        return {}
    return (
        {"partition": number, "partitions": of}
        if 0 <= number < of <= _MOST_PARTS
        else {}
    )
