"""Members of a federation: what a node that takes part says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A node that takes part, with what it said of itself.

    Attributes:
        identity: its own name, which stays where its node id changes; empty for none.
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
    def order(self) -> tuple[bool, int, str, int]:
        """Sort key: node ids are random in every run, partition ids are not."""
        alone = self.partition is None
        return (alone, self.partition or 0, self.identity, self.node_id)

    def __str__(self) -> str:
        part = "" if self.partition is None else f" (partition {self.partition})"
        return f"node {self.node_id}{part}"


@dataclass(frozen=True)
class Returned:
    """A member that has another node id than before."""

    old: int
    new: int
    restored: bool
