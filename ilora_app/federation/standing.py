"""How nodes have answered so far: whom a run still asks, and how long it waits.

A node that stays silent costs a round all the time that it is waited for. So it is
asked no more after some rounds in a row, and a round waits no longer than nodes that
answer make likely. Kinds of message (train, evaluate, head, query) are counted apart:
one takes longer than another, and a node may fail at one alone.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

from ilora_app.federation.member import Member

LEAST_SECONDS = 60.0
"""No round ends earlier for what was measured: an evening may be slower than a day."""


class Standing:
    r"""Strikes of nodes, and the seconds that usable replies took.

    A round waits W = min(timeout, max(60 s, c max_k t_k)), with t_k the seconds until a
    usable reply of that kind came, of all rounds so far; and for the whole timeout
    where none has come, or where somebody is asked for the first time.

    Args:
        strikes: a node without a usable reply in so many rounds in a row, of those it
            was asked in, is asked no more; 0: always asked.
        ratio: c; 0: W is the timeout. Only where a clock decides what comes in time:
            in a simulation, where nodes take turns, it would add chance.

    """

    def __init__(self, strikes: int = 3, ratio: float = 0.0) -> None:
        self._most, self._ratio = strikes, ratio
        self._strikes: dict[str, dict[int, int]] = {}
        self._out: set[int] = set()  # by their strikes
        self._slowest: dict[str, float] = {}
        self._began = 0.0
        self._came: dict[int, float] = {}
        self._left: set[int] = set()
        self._apart: set[int] = set()
        self._new: list[int] = []
        self.waited = 3600.0
        """W of the last exchange."""

    def wait(self, kind: str, nodes: Iterable[int], timeout: float) -> float:
        """Begin an exchange: seconds that replies of these nodes are waited for."""
        self._began, self._came = time.monotonic(), {}
        slowest, known = self._slowest.get(kind), self._strikes.get(kind, {})
        self.waited = timeout
        if self._ratio and slowest is not None and all(n in known for n in nodes):
            self.waited = min(timeout, max(LEAST_SECONDS, self._ratio * slowest))
        return self.waited

    def came(self, nodes: Iterable[int]) -> None:
        """Note who has replied in an exchange since this was last told."""
        now = time.monotonic() - self._began
        self._came |= {node: now for node in nodes if node not in self._came}

    def note(self, kind: str, good: Sequence[int], bad: Sequence[int]) -> None:
        """Count an exchange: whose replies are used, and whose are not or never came.

        Where none is used the next one waits for the whole timeout: all may have become
        slower.
        """
        strikes = self._strikes.setdefault(kind, {})
        for node in bad:
            strikes[node] = strikes.get(node, 0) + 1
        for node in good:
            strikes[node] = 0
        self._judge([*good, *bad])
        self._left -= {node for node in good if not self.is_out(node)}
        if good and self._ratio:
            longest = max(self._came.get(node, 0.0) for node in good)
            self._slowest[kind] = max(self._slowest.get(kind, 0.0), longest)
        elif bad:
            self._slowest.pop(kind, None)

    def is_out(self, node: int) -> bool:
        """Whether a node has let down so many rounds that it is asked no more."""
        return node in self._out

    def asked(self, nodes: Sequence[int], enough: bool = True) -> list[int]:
        """Those of some nodes that are asked: all, where there are not enough."""
        if not enough:
            return list(nodes)
        self._leave(node for node in nodes if self.is_out(node))
        return [node for node in nodes if not self.is_out(node)]

    def among(self, members: Sequence[Member], least: int) -> list[Member]:
        """Members that are asked; at least so many, where there are so many.

        Those that are asked all the same are the ones with the fewest strikes.
        """
        if not self._out:
            return list(members)
        out = [m for m in members if self.is_out(m.node_id)]
        missing = max(least - (len(members) - len(out)), 0)
        out = sorted(out, key=lambda m: self._worst(m.node_id))[missing:]
        gone = {member.node_id for member in out}
        self._leave(sorted(gone))
        return [member for member in members if member.node_id not in gone]

    def set_apart(self, nodes: Iterable[int]) -> None:
        """Have these, and no others, stand apart: their classes are not the others'."""
        self._apart = set(nodes)

    def agreeing(self, members: Sequence[Member]) -> list[Member]:
        """Those of some members that do not stand apart."""
        return [member for member in members if member.node_id not in self._apart]

    def take_new(self) -> list[tuple[int, str]]:
        """Hand out, once, who is asked no more, and why."""
        new, self._new = self._new, []
        why = "no usable reply in {} rounds in a row, and strikes is {}"
        return [(node, why.format(self._worst(node), self._most)) for node in new]

    def take_over(self, old: int, new: int) -> None:
        """Note that a node came back under another id."""
        for strikes in self._strikes.values():
            if old in strikes:
                strikes[new] = strikes.pop(old)
        self._judge([old, new])
        if old in self._apart:
            self._apart = self._apart - {old} | {new}

    def saved(self, names: Mapping[int, str]) -> dict[str, object]:
        """For a checkpoint, as JSON can hold it."""
        strikes = {
            kind: {names[n]: count for n, count in found.items() if n in names}
            for kind, found in self._strikes.items()
        }
        apart = sorted(names[node] for node in self._apart if node in names)
        return {"strikes": strikes, "seconds": dict(self._slowest), "apart": apart}

    def load(self, saved: Mapping[str, object], nodes: Mapping[str, int]) -> None:
        """Go on from what :meth:`saved` gave."""
        strikes: Mapping[str, Mapping[str, int]] = saved["strikes"]  # type: ignore[assignment]
        self._slowest = dict(saved["seconds"])  # type: ignore[call-overload]
        self._apart = {nodes[name] for name in saved.get("apart", ())}  # type: ignore[attr-defined]
        self._strikes = {
            kind: {nodes[name]: count for name, count in found.items()}
            for kind, found in strikes.items()
        }
        self._judge(node for found in self._strikes.values() for node in found)

    def _judge(self, nodes: Iterable[int]) -> None:
        """Note which of some nodes are out."""
        for node in nodes:
            if self._most and self._worst(node) >= self._most:
                self._out.add(node)
            else:
                self._out.discard(node)

    def _worst(self, node: int) -> int:
        return max((found.get(node, 0) for found in self._strikes.values()), default=0)

    def _leave(self, nodes: Iterable[int]) -> None:
        new = [node for node in nodes if node not in self._left]
        self._left.update(new)
        self._new += new
