"""Members by node id, in their order, and found by all that they are known by.

To add one, and to find it again, does not go through the others: what it takes grows
with the logarithm of their number, and the list of all is sorted once for many.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable, Iterator, KeysView
from operator import attrgetter

from ilora_app.federation.member import Member

_FEW = 8
"""A list is put in order as a whole where more than one in so many members is new."""

_LISTED = 30
"""Of more members the log counts the ranks."""

_order = attrgetter("order")


class Roster:
    """The members of a federation."""

    def __init__(self) -> None:
        self._by_node: dict[int, Member] = {}
        self._by_key: dict[Hashable, dict[int, None]] = {}
        self._ordered: list[Member] = []
        self._added: list[Member] = []
        self.ranks: Counter[int] = Counter()
        """How many members have each rank."""

    def __len__(self) -> int:
        return len(self._by_node)

    def told_ranks(self) -> str:
        """Ranks of all, in their order; of many how many have each."""
        if len(self) <= _LISTED:
            return ", ".join(str(member.rank) for member in self)
        counts = sorted(self.ranks.items())
        return ", ".join(f"{rank} ({count:,})" for rank, count in counts)

    def __iter__(self) -> Iterator[Member]:
        """All of them, in their order."""
        added, ordered = self._added, self._ordered
        if len(added) * _FEW > len(ordered):
            ordered += added
            ordered.sort(key=_order)
        else:
            for member in added:
                insort(ordered, member, key=_order)
        self._added = []
        return iter(ordered)

    def __contains__(self, node: int) -> bool:
        return node in self._by_node

    @property
    def nodes(self) -> KeysView[int]:
        """Their node ids."""
        return self._by_node.keys()

    def find(self, node: int) -> Member | None:
        """The member with a node id."""
        return self._by_node.get(node)

    def named(self, identity: str) -> list[Member]:
        """Members of a name, in their order; none has no name."""
        return self._of(("identity", identity)) if identity else []

    def first_met_as(self, node: int) -> list[Member]:
        """Members that had this node id when they were first met, in their order."""
        return self._of(("home", node))

    def first_holder(self, partition: int, beside: int) -> Member | None:
        """Who was the first to say that it holds a partition, but for one node.

        Those that are away since a checkpoint do not count.
        """
        nodes = self._by_key.get(("partition", partition), {})
        return next((self._by_node[n] for n in nodes if n != beside), None)

    def put(self, member: Member) -> None:
        """Add a member, or put it in the place of the one with its node id."""
        self.remove(member.node_id)
        self._by_node[member.node_id] = member
        self._added.append(member)
        self.ranks[member.rank] += 1
        for key in _keys(member):
            self._by_key.setdefault(key, {})[member.node_id] = None

    def remove(self, node: int) -> Member | None:
        """Take a member out; the one that there was."""
        member = self._by_node.pop(node, None)
        if member is None:
            return None
        iter(self)  # all are in order then
        del self._ordered[bisect_left(self._ordered, member.order, key=_order)]
        self.ranks -= Counter([member.rank])
        for key in _keys(member):
            self._by_key[key].pop(node)
            if not self._by_key[key]:
                del self._by_key[key]
        return member

    def _of(self, key: Hashable) -> list[Member]:
        found = (self._by_node[node] for node in self._by_key.get(key, ()))
        return sorted(found, key=_order)


def _keys(member: Member) -> list[Hashable]:
    """By what a member is looked for."""
    keys: list[Hashable] = [("home", member.home)]
    if member.identity:
        keys.append(("identity", member.identity))
    if member.partition is not None and member.node_id > 0:  # away: see ``expect``
        keys.append(("partition", member.partition))
    return keys
