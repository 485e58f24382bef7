"""Stages of secure aggregation as messages: keys, shares, masked vectors, unmasking.

A session is one round's. Nodes make keys, share their secrets among them, and send a
masked vector in each pass; after each, those that are left give what opens the sum. The
server passes letters on that it cannot read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from ilora_app import wire
from ilora_app.federation import secure_answers as answers
from ilora_app.federation import secure_blame
from ilora_app.federation.event_log import EventLog
from ilora_app.federation.exchange import exchange
from ilora_app.federation.member import Member
from ilora_app.federation.replies import Request, collect
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.state import Share
from ilora_app.secure import KeySet, Ring, SecureError, Terms, of_clients, opened

TYPE, PURPOSE = "query.secure", "secure"
_NOTHING = Share(AdapterState(LoraFactors({}), {}))

Vector = NDArray[np.float64]


@dataclass
class SecureSession:
    """The server's end of a session.

    Args:
        terms: of the session.
        grid: of the run.
        members: that are asked, in their order.
        timeout: seconds for the answers of a stage.
        events: answers that are left out are recorded there.
        max_examples: as in ``of_clients``.
        most: megabytes of a reply.
        config: sent with the first stage, for a node that has to restore its state.
        by_direction: directions are summed of which not all nodes may hold each.

    Attributes:
        peers: nodes whose masks are in the vectors of the next pass.

    """

    terms: Terms
    grid: Grid
    members: Sequence[Member]
    timeout: float
    events: EventLog
    max_examples: int = 0
    most: float = 0.0
    config: ConfigRecord | None = None
    by_direction: bool = False
    costs: answers.Costs = field(default_factory=answers.Costs)
    peers: list[int] = field(default_factory=list)
    _asked: dict[int, bytes] = field(default_factory=dict)

    def begin(self) -> None:
        """Have nodes make keys and share their secrets.

        Raises:
            SecureError: too few do.

        """
        facts = {
            wire.STAGE: wire.KEYS,
            wire.PASSES: self.terms.passes,
            wire.SECURE_LEAST: self.terms.least,
        }
        ranks = {m.node_id: m.rank if self.by_direction else 1 for m in self.members}
        asked = {node: {**facts, wire.RANK: rank} for node, rank in ranks.items()}
        more = {wire.CONFIG: self.config} if self.config else {}
        found = self._ask(asked, partial(answers.advert, self.terms), more)
        adverts = dict(found)
        if len(adverts) < self.terms.least:
            raise SecureError(
                f"{len(adverts)} nodes have keys for secure aggregation, "
                f"secure-min-nodes is {self.terms.least}"
            )
        self.key_set = KeySet.of(self.terms, list(adverts.values()))
        nodes_here = len(self.key_set.adverts)
        self.point, self.most_examples = of_clients(nodes_here, self.max_examples)
        texts = [advert.encoded() for advert in self.key_set.adverts]
        facts = {wire.STAGE: wire.SHARES, wire.KEYS: texts}
        sent = self._ask(
            dict.fromkeys(adverts, facts), partial(answers.letters, self.key_set)
        )
        self._inbox = dict(sent)
        self.peers = sorted(self._inbox)
        self.key_set.enough(self.peers, "have shared their secrets")

    @property
    def _known(self) -> dict[int, Member]:
        return {member.node_id: member for member in self.members}

    @property
    def error(self) -> float:
        """Of a sum, at most."""
        return len(self.key_set.adverts) * 2.0 ** -(self.point.bits + 1)

    def facts(self, node: int, number: int, **more: Any) -> ConfigRecord:
        """Record of a message that asks for a masked vector.

        Args:
            node: who gets it; with the first pass come the letters to it.
            number: of the pass.
            more: what else it needs, the same for all.

        """
        found = self._named({wire.PASS: number, **more})
        self._asked[number] = wire.asked(found)
        if not number:
            letters = {
                sender: letters[node]
                for sender, letters in self._inbox.items()
                if sender != node
            }
            found[wire.LETTERS] = wire.by_node(letters)
        return ConfigRecord(found)

    def multiplied(
        self, number: int, by: ArrayRecord, facts: Mapping[str, Any], length: int
    ) -> Vector:
        """A pass of sums of products: ask for it, and open it.

        Args:
            number: of the pass.
            by: what each node multiplies by.
            facts: of the sketch.
            length: of the vector.

        """
        asked = {wire.STAGE: wire.FACTORS, wire.PASS: number, **facts}
        self._asked[number] = wire.asked(self._named(asked), by)
        found = self._ask(
            dict.fromkeys(self.peers, asked),
            lambda reply, _: answers.vector(reply, length),
            {wire.FACTORS: by},
        )
        return self.open(number, dict(found))

    def collect(
        self, replies: Iterable[Message], length: int, purpose: str
    ) -> tuple[dict[int, Ring], list[int]]:
        """Masked vectors of a pass by node, and whose are missing.

        Args:
            replies: of the nodes that were asked for them.
            length: of the vectors.
            purpose: of the messages, for the record of what is left out.

        """
        known = self._known
        members = {node: known[node] for node in self.peers}
        asked = {node: Request(member, _NOTHING) for node, member in members.items()}

        def read(reply: Message, request: Request) -> tuple[int, Ring]:
            return request.member.node_id, answers.vector(reply, length)

        good, bad = collect(asked, replies, read, self.events.standing.waited)
        found = secure_blame.sort_out(good, bad, members)
        told = self.terms.round, purpose, list(found.good), found.bad
        self.events.replies(*told, excused=found.excused)
        return found.good, [member.node_id for member, _ in found.bad]

    def open(self, number: int, masked: Mapping[int, Ring]) -> Vector:
        """Take the masks off the sum of a pass.

        Args:
            number: of the pass.
            masked: vectors of the nodes that are left, by node.

        Raises:
            SecureError: too few are left, or have given what opens it, or it is wrong.

        """
        left = sorted(masked)
        self.key_set.enough(left, "are left")
        if number < self.terms.joint and number and left != self.peers:
            gone = sorted(set(self.peers) - set(left))
            raise SecureError(f"nodes {gone} dropped out between sums of one update")
        facts: dict[str, Any] = {
            wire.PASS: number,
            wire.LEFT: wire.by_node(dict.fromkeys(left, b"")),
        }
        if left != self.peers:
            asked = {**facts, wire.STAGE: wire.AGREE}
            signed = dict(self._ask(dict.fromkeys(left, asked), answers.signed))
            facts[wire.SIGNED] = wire.by_node(signed)
        asked = {**facts, wire.STAGE: wire.REVEAL}
        revealed = dict(
            self._ask(dict.fromkeys(left, asked), partial(answers.shares, self.peers))
        )
        asked_for = self._asked[number]
        false: set[int] = set()
        how = number, self.peers, masked, revealed, asked_for, false
        total = opened(self.key_set, *how)
        self.peers = left
        told = [
            (self._known[node], "it has given wrong shares") for node in sorted(false)
        ]
        good = [node for node in revealed if node not in false]
        self.events.replies(self.terms.round, f"{PURPOSE}-shares", good, told)
        return self.point.decode(total)

    def _ask(
        self,
        facts: Mapping[int, Mapping[str, Any]],
        read: Any,
        records: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """One stage: ask nodes, and read their answers as (node, what it is)."""
        if not facts:
            return []
        sent = [
            Message(RecordDict({wire.SECURE: record, **(records or {})}), node, TYPE)
            for node, own in facts.items()
            for record in [ConfigRecord(self._named(own))]
        ]
        requests = {node: Request(self._known[node], _NOTHING) for node in facts}
        standing = self.events.standing
        # Strikes are of rounds: a node may fail at one stage of every one of them.
        first = next(iter(facts.values()))
        purpose = f"{PURPOSE}-{first[wire.STAGE]}-{first.get(wire.PASS, 0)}"
        seconds = standing.wait(purpose, requests, self.timeout)
        payloads = self.events.payloads(self.terms.round, purpose)
        how = seconds, standing.came, self.most, None, payloads
        replies = exchange(self.grid, sent, *how)
        self.costs.add(sent, replies)

        def one(reply: Message, request: Request) -> tuple[int, Any]:
            return request.member.node_id, read(reply, request)

        good, bad = collect(requests, replies, one, seconds)
        self.events.replies(self.terms.round, purpose, [node for node, _ in good], bad)
        return good

    def _named(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        named = {wire.PURPOSE: self.terms.purpose, wire.ROUND: self.terms.round}
        return {**named, **facts}
