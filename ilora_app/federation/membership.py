"""Who is in the federation: nodes, their ranks, and the order they are taken in."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from logging import INFO, WARNING

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.exchange import exchange, reason_of
from ilora_app.federation.member import Member, Rejoin, read

_POLL_SECONDS = 0.5
# A node that comes later and does not say its rank in this time is asked again later,
# with twice the time: a slow one would never get in otherwise.
_QUERY_SECONDS = 60.0


class FederationError(RuntimeError):
    """No node can take part, with every reason that nodes gave."""


class Membership:
    """The members known so far, learned by QUERY messages.

    A member that comes back under another node id (its process or the whole run was
    started again) takes up its place: its rank, unless it now offers less, and all that
    it holds, where it has kept its own state.

    Args:
        largest_rank: r_max; a node that offers more trains at r_max. None: no limit.
        facts: what every node is told when it is asked.

    """

    def __init__(
        self, largest_rank: int | None = None, facts: ConfigRecord | None = None
    ) -> None:
        self.largest_rank = largest_rank
        self.facts = facts or ConfigRecord()
        self._finished_round = 0
        self._rejoins: list[Rejoin] = []
        self.left_out: dict[int, str] = {}
        self._members: dict[int, Member] = {}
        self._waiting: set[int] = set()
        self._patience = _QUERY_SECONDS

    @property
    def members(self) -> list[Member]:
        """Every node ever met that takes part, in its fixed order."""
        return sorted(self._members.values(), key=lambda member: member.order)

    @property
    def ranks(self) -> list[int]:
        """Rank r_k of every member."""
        return [member.rank for member in self.members]

    def wait(
        self, grid: Grid, least: int, timeout: float, settle: bool = False
    ) -> None:
        """Wait until ``least`` nodes are connected.

        With ``settle`` their number must also stand still: before round 1 all nodes of
        a simulation should be there.

        Raises:
            FederationError: fewer came within ``timeout`` seconds.

        """
        end = time.monotonic() + timeout
        before = -1
        while True:
            now = len(set(grid.get_node_ids()))
            if now >= max(least, 1) and (now == before or not settle):
                return
            if time.monotonic() > end:
                raise FederationError(
                    f"{now} nodes connected within {timeout:g} s, "
                    f"min-available-nodes asks for {least}"
                )
            if now < least and now != before:
                log(INFO, "Waiting for nodes: %d connected, %d needed", now, least)
            before = now
            time.sleep(_POLL_SECONDS)

    def meet(self, grid: Grid, timeout: float) -> list[Member]:
        """Ask connected nodes not met before for their facts; return who is here.

        A node that does not answer is asked again next time. One that says it cannot
        take part is left out from then on, and the reason is logged.
        """
        connected = set(grid.get_node_ids())
        strangers = sorted(connected - set(self._members) - set(self.left_out))
        if strangers:
            facts = ConfigRecord({**self.facts, wire.ROUND: self._finished_round})
            questions = [
                Message(
                    content=RecordDict({wire.CONFIG: facts}),
                    message_type=MessageType.QUERY,
                    dst_node_id=n,
                )
                for n in strangers
            ]
            replies = exchange(grid, questions, timeout, lambda _: None)
            silent = len(replies) < len(strangers)
            self._patience = 2 * timeout if silent else _QUERY_SECONDS
            self._read(replies, connected)
        return self.connected(grid)

    def connected(self, grid: Grid) -> list[Member]:
        """Members that are connected."""
        there = set(grid.get_node_ids())
        return [member for member in self.members if member.node_id in there]

    def present(self, grid: Grid, least: int, timeout: float) -> list[Member]:
        """Wait for ``least`` nodes, but go on without; return the members there are."""
        try:
            self.wait(grid, least, timeout)
        except FederationError as error:
            log(WARNING, "%s; going on with those", error)
        return self.meet(grid, min(timeout, self._patience))

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
            known = self._members.get(node)
            if known and rank < known.rank:
                self._members[node] = replace(known, rank=rank)

    def expect(self, members: Iterable[Member]) -> None:
        """Count these as members that are away; they may come back."""
        for number, member in enumerate(members):
            self._members[-1 - number] = replace(member, node_id=-1 - number)

    def leave_out(self, member: Member, reason: str) -> None:
        """Take a member out of the federation for the rest of the run."""
        self._members.pop(member.node_id, None)
        self.left_out[member.node_id] = reason
        log(WARNING, "%s is left out: %s", member, reason)

    def _restore_place(
        self, member: Member, state_round: int, connected: set[int]
    ) -> Member | None:
        """Give a member the place that it had before, if it had one.

        Returns:
            The member; None where its place is taken by one that is connected: it may
            be itself before a restart, which Flower notices after a minute.

        """
        named = [old for old in self.members if old.identity == member.identity != ""]
        twin = next((old for old in named if old.node_id in connected), None)
        if twin:
            if member.node_id not in self._waiting:
                log(
                    WARNING,
                    "%s waits until node %d is gone: both are %s",
                    member,
                    twin.node_id,
                    wire.readable(member.identity),
                )
            self._waiting.add(member.node_id)
            return None
        away = [old for old in self.members if old.node_id not in connected]
        by_name = [old for old in away if old in named]
        # A registered node has its id for good, and may have lost what it kept.
        by_id = [old for old in away if old.home == member.node_id]
        if not by_name + by_id:
            return member
        old = (by_name + by_id)[0]
        del self._members[old.node_id]
        restored = state_round > 0
        rank = min(member.rank, old.rank)
        smaller = rank if rank < old.rank else None
        self._rejoins.append(Rejoin(old.node_id, member.node_id, restored, smaller))
        if (old.examples, old.held_out) != (member.examples, member.held_out):
            log(
                WARNING,
                "%s came back with %d + %d examples; it had %d + %d",
                member,
                member.examples,
                member.held_out,
                old.examples,
                old.held_out,
            )
        return replace(member, rank=rank)

    def _read(self, replies: Iterable[Message], connected: set[int]) -> None:
        for reply in replies:
            node = reply.metadata.src_node_id
            if not reply.has_content():
                said = reason_of(reply)
                log(WARNING, "node %d did not say its rank: %s", node, said)
                continue
            try:
                content = wire.bounded(reply.content)
                member, state_round = read(node, content, self.largest_rank)
            except wire.WireError as error:
                self.left_out[node] = wire.readable(str(error), 4000)
                log(WARNING, "node %d is left out: %s", node, self.left_out[node])
                continue
            found = self._restore_place(member, state_round, connected)
            if found:
                self._members[node] = found
        self._log_members()

    def _log_members(self) -> None:
        ranks = ", ".join(str(rank) for rank in self.ranks)
        log(INFO, "Federation: %d members of ranks %s", len(self._members), ranks)
