"""Who is in the federation: nodes, their ranks, and the order they are taken in."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from logging import INFO, WARNING

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation import identity, messages
from ilora_app.federation.exchange import exchange, reason_of
from ilora_app.federation.member import Member, Rejoin, most_say, read
from ilora_app.federation.roster import Roster
from ilora_app.federation.standing import Standing
from ilora_app.federation.waiting import Patience, nobody

# A node that comes later and does not say its rank in this time is asked again later,
# with twice the time: a slow one would never get in otherwise.
_QUERY_SECONDS = 60.0


class Membership:
    """The members known so far, learned by QUERY messages.

    A member that comes back under another node id (its process or the whole run was
    started again) takes up its place: its rank, unless it now offers less, and all that
    it holds, where it has kept its own state.

    Args:
        largest_rank: r_max; a node that offers more trains at r_max. None: no limit.
        facts: what every node is told when it is asked.
        standing: how nodes have answered so far.
        known_by: who a node is: see ``identity.names``.

    """

    def __init__(
        self,
        largest_rank: int | None = None,
        facts: ConfigRecord | None = None,
        standing: Standing | None = None,
        known_by: str = identity.AUTO,
    ) -> None:
        self.largest_rank = largest_rank
        self.facts = facts or ConfigRecord()
        self.standing = standing or Standing()
        self.known_by = known_by
        self.claimed_twice: list[tuple[Member, Member, str]] = []
        self._finished_round = 0
        self._rejoins: list[Rejoin] = []
        self.left_out: dict[int, str] = {}
        self.arrivals: list[int] = []
        self._roster = Roster()
        self._waiting: set[int] = set()
        self._patience = _QUERY_SECONDS
        self._until_enough = Patience()
        self._unsaid: dict[int, str] = {}
        self._silent = False

    @property
    def members(self) -> list[Member]:
        """Every node ever met that takes part, in its fixed order."""
        return list(self._roster)

    @property
    def ranks(self) -> list[int]:
        """Ranks r_k of members, each once."""
        return sorted(self._roster.ranks)

    @property
    def partitions(self) -> int:
        """In how many parts the data is dealt out, as most members say; 0: in none."""
        return most_say(self._roster)

    def find(self, node: int) -> Member | None:
        """The member with a node id."""
        return self._roster.find(node)

    def meet(self, grid: Grid, timeout: float, least: int = 0) -> list[Member]:
        """Ask connected nodes not met before for their facts; return who is here.

        A node that does not answer is asked again next time, unless it is out by its
        strikes and ``least`` members are here. One that says it cannot take part is
        left out from then on, and the reason is logged.
        """
        keys = identity.keys(grid, self.known_by)
        strangers = sorted(keys.keys() - self._roster.nodes - self.left_out.keys())
        here = self._among(keys)
        strangers = self.standing.asked(strangers, len(here) >= least)
        self._unsaid, self._silent = {}, False
        if strangers:
            facts = {**self.facts, wire.ROUND: self._finished_round}
            questions = messages.questions(strangers, facts)
            replies = exchange(grid, questions, timeout, lambda _: None)
            said = {reply.metadata.src_node_id for reply in replies}
            good = [node for node in strangers if node in said]
            silent = [node for node in strangers if node not in said]
            self.standing.note("query", good, silent)
            self._patience = 2 * self._patience if silent else _QUERY_SECONDS
            why = f"no answer to the question for its rank within {timeout:g} s"
            self._unsaid, self._silent = dict.fromkeys(silent, why), bool(silent)
            self._read(replies, keys)
            here = self.connected(grid)
        return here

    def connected(self, grid: Grid) -> list[Member]:
        """Members that are connected."""
        return self._among(set(grid.get_node_ids()))

    def present(self, grid: Grid, least: int, timeout: float) -> list[Member]:
        """Wait for ``least`` members, but go on without; return who is to be asked.

        A node that is connected may need long for its first answer: it is asked again
        while too few have given theirs, for as long as nodes are waited for.
        """
        left = self._until_enough.wait(grid, least, timeout)
        given = min(timeout, self._patience)
        here = self.meet(grid, given, least)
        while len(here) < least and self._silent and (left := left - given) > 0:
            given = min(left, self._patience)
            here = self.meet(grid, given, least)
        if len(here) < least:
            self._until_enough.short(len(here), least)
        return self.standing.among(here, least)

    def some(self, present: list[Member], server_round: int) -> list[Member]:
        """Give those that are there; a round that nobody can take part in is none.

        Raises:
            FederationError: nobody is, with what nodes said.

        """
        if present:
            return present
        raise nobody(server_round, {**self._unsaid, **self.left_out})

    def limit_rank(self, largest: int | None) -> None:
        """Set r_max, where there are factors at all."""
        self.largest_rank = largest or None

    def finish(self, server_round: int) -> None:
        """Note a finished round: a node that comes back goes on from there."""
        self._finished_round = server_round

    def take_rejoins(self) -> list[Rejoin]:
        """Hand out, once, who has come back under another node id."""
        rejoins, self._rejoins = self._rejoins, []
        return rejoins

    def set_ranks(self, ranks: Mapping[int, int]) -> None:
        """Note the ranks that members go on with, where they have pruned their own."""
        for node, rank in ranks.items():
            known = self._roster.find(node)
            if known and rank < known.rank:
                self._roster.put(replace(known, rank=rank))

    def expect(self, members: Iterable[Member]) -> None:
        """Count these as members that are away; they may come back."""
        for number, member in enumerate(members):
            self._add(replace(member, node_id=-1 - number))

    def leave_out(self, member: Member, reason: str) -> None:
        """Take a member out of the federation for the rest of the run."""
        self._roster.remove(member.node_id)
        self.left_out[member.node_id] = reason
        log(WARNING, "%s is left out: %s", member, reason)

    def _restore_place(
        self, member: Member, state_round: int, connected: Container[int]
    ) -> Member | None:
        """Give a member the place that it had before, if it had one.

        Returns:
            The member; None where its place is taken by one that is connected: it may
            be itself before a restart, which Flower notices after a minute.

        """
        named = self._roster.named(member.identity)
        if twin := next((old for old in named if old.node_id in connected), None):
            if member.node_id not in self._waiting:
                name, gone = wire.readable(member.identity), f"node {twin.node_id}"
                text = f"{member} waits until {gone} is gone: both are {name}"
                self._twice(member, twin, text)
            self._waiting.add(member.node_id)
            return None
        # A registered node has its id for good, and may have lost what it kept.
        met = [*named, *self._roster.first_met_as(member.node_id)]
        old = next((old for old in met if old.node_id not in connected), None)
        if old is None:
            return member
        self._roster.remove(old.node_id)
        restored = state_round > 0
        rank = min(member.rank, old.rank)
        smaller = rank if rank < old.rank else None
        self._rejoins.append(Rejoin(old.node_id, member.node_id, restored, smaller))
        self.standing.take_over(old.node_id, member.node_id)
        has, had = (f"{m.examples} + {m.held_out}" for m in (member, old))
        if has != had:
            log(WARNING, "%s came back with %s examples; it had %s", member, has, had)
        return replace(member, rank=rank)

    def _twice(self, member: Member, other: Member, text: str) -> None:
        self.claimed_twice.append((other, member, text))
        log(WARNING, "%s", text)

    def _same_partition(self, member: Member) -> None:
        """Say who claimed a partition before; either may lie, so both count."""
        if member.partition is None:
            return
        other = self._roster.first_holder(member.partition, beside=member.node_id)
        if other:
            text = f"{other} and {member} claim one partition: both count"
            self._twice(member, other, f"{text}, each by its own key")

    def _add(self, member: Member) -> None:
        self._roster.put(member)
        self.arrivals.append(member.node_id)

    def _among(self, nodes: Container[int]) -> list[Member]:
        return [member for member in self._roster if member.node_id in nodes]

    def _read(self, replies: Iterable[Message], keys: identity.Keys) -> None:
        for reply in replies:
            node = reply.metadata.src_node_id
            if not reply.has_content():
                said = self._unsaid[node] = reason_of(reply)
                log(WARNING, "node %d did not say its rank: %s", node, said)
                continue
            try:
                content = wire.bounded(reply.content)
                member, state_round = read(node, content, self.largest_rank)
            except wire.WireError as error:
                self.left_out[node] = wire.readable(str(error), 4000)
                log(WARNING, "node %d is left out: %s", node, self.left_out[node])
                continue
            key = keys.get(node)
            if key is not None:
                member = replace(member, identity=identity.name(key))
            found = self._restore_place(member, state_round, keys)
            if found:
                self._add(found)
                if key is not None:
                    self._same_partition(found)
        text = "Federation: %d members of ranks %s"
        log(INFO, text, len(self._roster), self._roster.told_ranks())
