"""Whose fault it is that a pass of secure aggregation has failed at a node."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from ilora_app.federation.member import Member
from ilora_app.secure import accused

T = TypeVar("T")


class Blamed(NamedTuple, Generic[T]):
    """Answers of a pass: those to use, whose are not and why, and whom that excuses."""

    good: dict[int, T]
    bad: list[tuple[Member, str]]
    excused: set[int]


def sort_out(
    good: Sequence[tuple[int, T]],
    bad: Sequence[tuple[Member, str]],
    members: Mapping[int, Member],
) -> Blamed[T]:
    """Leave out whom more than half accuse: one of them at least is honest.

    Who cannot open what another has sent it lets nobody down, and is excused.

    Args:
        good: nodes and what they have answered.
        bad: whose answers are not used, and why.
        members: all that were asked, by node.

    """
    about = {member.node_id: accused(reason) for member, reason in bad}
    refusing = {n: other for n, other in about.items() if other in members}
    counts = Counter(refusing.values())
    guilty = {n: c for n, c in counts.items() if n is not None and 2 * c > len(members)}
    words = "{} nodes cannot open the shares that it has sent them"
    more = [(members[n], words.format(c)) for n, c in guilty.items() if n not in about]
    return Blamed(
        {node: answer for node, answer in good if node not in guilty},
        [*bad, *more],
        refusing.keys() - guilty.keys(),
    )
