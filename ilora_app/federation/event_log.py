"""What a strategy logs and records of its members and their replies."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from logging import INFO, WARNING
from typing import Any, Protocol

from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.member import Member
from ilora_app.federation.membership import Membership
from ilora_app.federation.payloads import Payloads
from ilora_app.federation.standing import Standing

_MEASURED = (
    ("held_out", wire.EXAMPLES),
    ("accuracy", wire.ACCURACY),
    ("loss", wire.LOSS),
    ("test_accuracy", wire.TEST_ACCURACY),
    ("test_loss", wire.TEST_LOSS),
)


_WORDS = {"train": "updates", "head": "sums for the head"}


class Recorder(Protocol):
    """Takes what happens in a run: one call an event, with plain values."""

    def event(self, kind: str, **facts: Any) -> None:
        """Record one event."""


class Silent:
    """Records nothing."""

    def event(self, kind: str, **facts: Any) -> None:
        """Do nothing."""


class EventLog:
    """Says each thing once, in the log and to the recorder.

    Args:
        recorder: receives events.
        standing: counts whose replies were used.

    """

    def __init__(
        self, recorder: Recorder | None, standing: Standing | None = None
    ) -> None:
        self._recorder: Recorder = recorder or Silent()
        self.standing = standing or Standing()
        self._met: set[int] = set()
        self._arrivals = self._claims = 0
        self._left_out: Counter[str] = Counter()
        self.in_vain: Counter[str] = Counter()
        """Why the first round that changed nothing did not, by nodes; 0: no one's."""

    def round(self, row: dict[str, Any]) -> None:
        """Record a finished round."""
        self._recorder.event("round", **row)

    def asked(self, server_round: int, purpose: str, clients: int) -> None:
        """Record that nodes were asked, where any was."""
        if clients:
            self._recorder.event(
                "asked", round=server_round, purpose=purpose, clients=clients
            )

    def replied(self, server_round: int, purpose: str, clients: int) -> None:
        """Record how many have replied so far."""
        self._recorder.event(
            "replied", round=server_round, purpose=purpose, clients=clients
        )

    def payloads(self, server_round: int, purpose: str) -> Payloads:
        """What hashes the messages of an exchange, and has the hashes recorded."""
        facts = {"round": server_round, "purpose": purpose}
        return Payloads(partial(self._recorder.event, "payloads", **facts))

    def measured(self, server_round: int, found: Mapping[str, int | float]) -> None:
        """Record what was measured of a round behind its end."""
        self._recorder.event("measured", round=server_round, **found)
        parts = [
            f"{name} {found[name]:.4f}"
            for name in ("accuracy", "client_accuracy_mean", "client_accuracy_worst")
            if name in found
        ]
        log(INFO, "measured later, of round %d: %s", server_round, "  ".join(parts))

    def clients(
        self, server_round: int, found: Sequence[tuple[Member, Mapping[str, float]]]
    ) -> None:
        """Record what each client measured of a round's model."""
        if not found:
            return
        clients = [
            {
                "node": member.node_id,
                "partition": member.partition,
                "identity": member.identity,
                "rank": member.rank,
                "examples": member.examples,
                **{name: result[key] for name, key in _MEASURED if key in result},
            }
            for member, result in found
        ]
        self._recorder.event("clients-evaluated", round=server_round, clients=clients)

    def nodes(self, membership: Membership) -> None:
        """Record members, nodes that cannot take part and those asked no more, once."""
        new = dict.fromkeys(membership.arrivals[self._arrivals :])
        self._arrivals = len(membership.arrivals)
        there = [membership.find(node) for node in new if node not in self._met]
        found = sorted(filter(None, there), key=lambda member: member.order)
        for member in found:
            self._recorder.event("member", **vars(member))
        for one, other, reason in membership.claimed_twice[self._claims :]:
            nodes = [one.node_id, other.node_id]
            part = other.partition
            self._recorder.event(
                "claimed-twice", nodes=nodes, partition=part, reason=reason
            )
        self._claims = len(membership.claimed_twice)
        for node, reason in membership.left_out.items():
            if node not in self._met:
                self._recorder.event("node-left-out", node=node, reason=reason)
        self._met.update(member.node_id for member in found)
        self._met.update(membership.left_out)
        for node, reason in membership.standing.take_new():
            known = membership.find(node)
            log(WARNING, "%s is asked no more: %s", known or f"node {node}", reason)
            part = known.partition if known else None
            facts = {"node": node, "partition": part, "reason": reason}
            self._recorder.event("node-struck-out", **facts)

    def replies(
        self,
        server_round: int,
        purpose: str,
        good: Sequence[int],
        bad: Sequence[tuple[Member, str]],
        shrunk: Sequence[tuple[Member, str]] = (),
        passed: Sequence[int] = (),
        excused: Collection[int] = (),
    ) -> None:
        """Count who replied well; say which replies are not used, or in part, and why.

        Those that ``robust`` passes over are right for all that is known: nobody is
        accused. Nor are those who are excused, for what others have done.
        """
        if passed:
            words = "round %d: robust passes over the %s of nodes %s"
            log(INFO, words, server_round, _WORDS.get(purpose, purpose), passed)
            self._recorder.event(
                "passed-over", round=server_round, purpose=purpose, nodes=list(passed)
            )
        own = [m.node_id for m, _ in bad if m.node_id not in excused]
        self.standing.note(purpose, good, own)
        if purpose == "train":
            self._left_out = Counter(reason for _, reason in bad)
        for kind, words, found in (
            ("reply-left-out", "left out", bad),
            ("update-shrunk", "taken in part", shrunk),
        ):
            for member, reason in found:
                log(
                    WARNING,
                    "round %d: %s is %s: %s",
                    server_round,
                    member,
                    words,
                    reason,
                )
                self._recorder.event(
                    kind,
                    round=server_round,
                    purpose=purpose,
                    node=member.node_id,
                    partition=member.partition,
                    identity=member.identity,
                    reason=reason,
                )

    def private(
        self, multiplier: float, clip: float, delta: float, epsilon: float, rounds: int
    ) -> None:
        """Record what differential privacy costs over all rounds."""
        self._recorder.event(
            "private",
            noise_multiplier=multiplier,
            clip=clip,
            delta=delta,
            epsilon=epsilon,
            rounds=rounds,
        )

    def ended_early(self, server_round: int, reason: str) -> None:
        """Record that no further round is run."""
        self._recorder.event("ended-early", round=server_round, reason=reason)

    def model_stays(self, server_round: int, reason: str) -> None:
        """Say that a round changed nothing, and why."""
        log(WARNING, "round %d: %s, the model stays as it was", server_round, reason)
        self.in_vain = self.in_vain or self._left_out or Counter({reason: 0})
        self._recorder.event("model-unchanged", round=server_round, reason=reason)
