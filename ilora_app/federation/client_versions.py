"""What each node is known to hold, so that nothing is sent twice.

A node holds what a training message brought it once the server has seen a good reply;
until then the server counts on what it held before.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ilora_app.lora.factors import GROUPS, AdapterState, only
from ilora_app.methods.state import Plan


class ClientVersions:
    """Versions of the base and of the groups of tensors, and uploads taken, by node."""

    def __init__(self) -> None:
        self._time = 1
        self._changed = dict.fromkeys(GROUPS, 1)
        self._groups: dict[int, int] = {}
        self._base: dict[int, int] = {}
        self._taken: dict[int, int] = {}
        self._used: dict[int, int] = {}

    def advance(self, old: AdapterState, new: AdapterState) -> None:
        """Note which groups an aggregation has changed."""
        self._time += 1
        before, after = old.named_tensors(), new.named_tensors()
        for group in GROUPS:
            values = only(after, (group,))
            if any(n not in before or not before[n].equal(values[n]) for n in values):
                self._changed[group] = self._time

    def unchanged(
        self, node: int, plan: Plan, tensors: Mapping[str, Tensor]
    ) -> list[str]:
        """Groups that need not be sent: the node keeps them and they are the same."""
        since = self.since(node)
        there = {group for group in GROUPS if only(tensors, (group,))}
        return [
            group
            for group in plan.kept
            if group in plan.down and group in there and self._changed[group] <= since
        ]

    @property
    def time(self) -> int:
        """Now: what a node is sent holds from this time on."""
        return self._time

    def since(self, node: int) -> int:
        """Time of what the node is known to hold; 0: nothing is."""
        return self._groups.get(node, 0)

    def base(self, node: int) -> int:
        """Version of the base that the node holds."""
        return self._base.get(node, 0)

    def note(self, good: Iterable[int], bad: Iterable[int], base: int) -> None:
        """Note what nodes hold after a training message.

        Args:
            good: nodes that answered it well and so hold all that it brought.
            bad: nodes that answered badly, or not: nothing is counted on.
            base: version of the base that it brought.

        """
        for node in good:
            self._groups[node], self._base[node] = self._time, base
        for node in bad:
            self._groups.pop(node, None)
            self._base.pop(node, None)

    def take(self, nodes: Iterable[int], server_round: int) -> None:
        """Note whose uploads of a round are in the model."""
        now = dict.fromkeys(nodes, server_round)
        self._taken |= now
        self._used |= now

    def last_taken(self, node: int) -> int:
        """Round in which this node's upload was last taken; 0 for never."""
        return self._taken.get(node, 0)

    def last_used(self, node: int) -> int:
        """The same, also of a node that came back without what it held."""
        return self._used.get(node, 0)

    def take_over(self, old: int, new: int, restored: bool) -> None:
        """Note that a node came back under another id, with what it held or without."""
        for held in (self._groups, self._base, self._taken, self._used):
            value = held.pop(old, None)
            if (restored or held is self._used) and value is not None:
                held[new] = value

    def facts(self, names: Mapping[int, str]) -> dict[str, Any]:
        """Plain values of all this, with names in place of node ids."""
        return {
            "time": self._time,
            "changed": dict(self._changed),
            "groups": {names[n]: v for n, v in self._groups.items() if n in names},
            "base": {names[n]: v for n, v in self._base.items() if n in names},
            "taken": {names[n]: v for n, v in self._taken.items() if n in names},
            "used": {names[n]: v for n, v in self._used.items() if n in names},
        }

    @classmethod
    def of(cls, facts: Mapping[str, Any], nodes: Mapping[str, int]) -> "ClientVersions":
        """Read what :meth:`facts` gave, with node ids in place of names."""
        found = cls()
        found._time, found._changed = facts["time"], dict(facts["changed"])
        found._groups = {nodes[name]: v for name, v in facts["groups"].items()}
        found._base = {nodes[name]: v for name, v in facts["base"].items()}
        found._taken = {nodes[name]: v for name, v in facts["taken"].items()}
        used = facts.get("used", facts["taken"])  # not in checkpoints of before
        found._used = {nodes[name]: v for name, v in used.items()}
        return found
