"""Training by the clients: what each is sent, and what is taken of its reply."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flwr.app import Message, MessageType
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import Correction, Holder, Returned
from ilora_app.federation import messages, outliers, robust
from ilora_app.federation.deadlines import Deadlines
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member, Rejoin
from ilora_app.federation.replies import ReplyReader, Request, collect
from ilora_app.federation.rounded import Rounded
from ilora_app.lora.factors import AdapterState, LoraFactors, only
from ilora_app.methods import Method
from ilora_app.methods.state import GlobalState, Plan, Update, weights_of


class Training:
    """Has clients train, and reads what they bring back.

    Args:
        method: says what a client trains from and what it returns.
        correction: the server half of a drift correction, or None.
        limits: on what a reply may be.
        scaling: s, for norms in units of the weights.
        deadlines: of rounds; None waits for all.
        encoding: how numbers travel.

    """

    def __init__(
        self,
        method: Method,
        correction: Correction | None,
        limits: Limits,
        scaling: float,
        deadlines: Deadlines | None = None,
        encoding: wire.Encoding | None = None,
    ) -> None:
        self._method, self._encoding = method, encoding or wire.Encoding()
        self._rounded = Rounded(method, self._encoding)
        self._correction = correction
        self._given_limits = limits
        self.deadlines = deadlines
        self.reader = ReplyReader(method, limits, scaling, self._encoding.dtype)
        self._requests: dict[int, Request] = {}
        self.shrunk: list[tuple[Member, str]] = []
        self.passed_over: list[int] = []

    def configure(
        self,
        server_round: int,
        model: GlobalModel,
        members: Sequence[Member],
        federation: Sequence[Member],
        facts: Callable[[Member], Mapping[str, Any]],
        rounds: int = 0,
    ) -> list[Message]:
        """Send each member its factors, cut to its rank, and its correction.

        Args:
            server_round: of the messages.
            model: the global one.
            members: those that train.
            federation: all members, whether they train or not.
            facts: added to the config record of a member.
            rounds: of the run.

        """
        if self.deadlines:
            nodes = [member.node_id for member in members]
            self.deadlines.begin_round(server_round, rounds, nodes)
        plan, state, versions = model.plan(), model.state, model.versions
        how = self._method, self._encoding, plan, versions.time
        self._rounded = Rounded(*how)
        examples = [float(member.examples) for member in federation]
        self.reader.limits = self._given_limits.beside(examples)
        control = self._control(state, federation)
        self._requests, shared = {}, messages.Shared()
        sent = []
        for member in members:
            request, sent_down = self._request(state, plan, member, control)
            self._requests[member.node_id] = request
            config = {**facts(member), wire.ROUND: server_round, wire.RANK: member.rank}
            config |= self._correction.facts() if self._correction else {}
            if self.deadlines:
                task = self.deadlines.task(member.node_id)
                config |= {
                    wire.DEADLINE: task.seconds,
                    wire.BATCH_SIZE: task.batch_size,
                }
            if self._correction:
                taken = self._correction.last_taken(member.node_id)
                config[wire.LAST_TAKEN] = taken
            if not self._encoding.is_exact:
                config[wire.UPLOAD_TAKEN] = versions.last_taken(member.node_id)
            parts = self._rounded.share(state, member.rank).parts
            to = model, member.node_id, config, parts
            content = messages.write(request.share, plan, *to)
            if sent_down:
                rounds = request.correction_rounds
                content[wire.CORRECTION] = self._rounded.control(sent_down, rounds)
            sent.append(Message(shared(content), member.node_id, MessageType.TRAIN))
        return sent

    def read(
        self, replies: Mapping[int, Message], timeout: float
    ) -> tuple[list[Update], list[tuple[Member, str]]]:
        """Sort replies into updates, in the order of members, and bad ones.

        ``shrunk`` then says whose were far larger than the others, and ``passed_over``
        which nodes ``robust`` does not use this time.

        Args:
            replies: by node id.
            timeout: for the reason of a reply that did not come.

        """
        read = self.reader.update
        good, bad = collect(self._requests, replies.values(), read, timeout)
        if self.deadlines:
            weighed, good = self.deadlines.weigh(self._method, good), []
            for update in weighed:
                try:  # weighing may have made it larger
                    self.reader.limits.check(update, self.reader.scaling)
                    good.append(update)
                except wire.WireError as error:
                    bad.append((self._requests[update.node].member, str(error)))
        limits, scaling = self.reader.limits, self.reader.scaling
        how_far = scaling, limits.max_norm_ratio, self._correction
        kept, out, shrunk = outliers.hold(good, *how_far)
        how = limits.robust, limits.robust_fraction, scaling, self._correction
        chosen = robust.choose(kept, *how)
        self.passed_over = chosen.passed_over
        members = {node: request.member for node, request in self._requests.items()}
        self.shrunk = [(members[node], why) for node, why in shrunk]
        return chosen.updates, bad + [(members[node], why) for node, why in out]

    def requests(self, nodes: Sequence[int]) -> dict[int, Request]:
        """What nodes were sent in this round."""
        return {node: self._requests[node] for node in nodes}

    def correct(
        self,
        server_round: int,
        state: GlobalState,
        updates: Sequence[Update],
        mean: AdapterState,
    ) -> AdapterState:
        """Let the drift correction follow an aggregation.

        Args:
            server_round: of the updates.
            state: that clients trained from.
            updates: that were aggregated.
            mean: what the method made of them.

        Returns:
            The next factors and head.

        """
        if self._correction is None:
            return mean
        taken, moved = [u for u in updates if not u.correction_refused], {}
        if self._correction.follows:
            moved = {u.node: _moved(u, self._requests[u.node].plan) for u in taken}
        weights = {u.node: w for u, w in zip(updates, weights_of(updates), strict=True)}
        returned = Returned(
            server_round,
            {update.node: update.correction for update in taken},
            self._broadcast(state),
            [update.node for update in updates if update.correction_lost],
            moved,
            {update.node: weights[update.node] for update in taken},
        )
        self._correction.aggregate(returned)
        return self._correction.step(state.adapter, mean)

    def take_over(self, rejoin: Rejoin, state: GlobalState) -> None:
        """Let the drift correction know a member under its new node id."""
        if self.deadlines:
            self.deadlines.take_over(rejoin.old, rejoin.new)
        if self._correction is None:
            return
        rank = rejoin.rank
        if rank is not None:
            rank = self._method.trained_rank(state, rank)
        self._correction.take_over(rejoin.old, rejoin.new, rejoin.restored, rank)

    def _control(
        self, state: GlobalState, federation: Sequence[Member]
    ) -> Mapping[str, AdapterState]:
        """What the drift correction sends, at r_max, by the prefix of its names."""
        if self._correction is None:
            return {}
        trained, counted = self._method.trained_rank, self.reader.limits.examples
        ranks = {r: trained(state, r) for r in {member.rank for member in federation}}
        holders = [
            Holder(m.node_id, ranks[m.rank], counted(m.examples)) for m in federation
        ]
        found = self._correction.broadcast(holders, self._broadcast(state))
        more = self._correction.more()
        return more if found is None else {"": found, **more}

    def _broadcast(self, state: GlobalState) -> LoraFactors:
        """Factors at r_max, of which clients are sent the first r_k directions."""
        rank = state.adapter.factors.rank
        return self._rounded.share(state, rank).share.adapter.factors

    def _request(
        self,
        state: GlobalState,
        plan: Plan,
        member: Member,
        control: Mapping[str, AdapterState],
    ) -> tuple[Request, dict[str, Tensor]]:
        """What a member is sent and must return; and what its correction is sent."""
        share = self._rounded.share(state, member.rank).share
        steps = self.deadlines.steps if self.deadlines else 0
        if self._correction is None:
            return Request(member, share, plan, steps=steps), {}
        rank = self._method.trained_rank(state, member.rank)
        half, held = self._method.client_half, share.adapter.named_tensors()
        returned, frozen = half.trained(held, plan.up), half.frozen(held)
        sent = {
            prefix + name: value
            for prefix, part in control.items()
            for name, value in only(part.cut(rank).named_tensors(), plan.up).items()
            if name not in frozen
        }
        expected = self._correction.expects(sent, returned)
        how = expected, self._correction.rounds, steps
        return Request(member, share, plan, *how), sent


def _moved(update: Update, plan: Plan) -> dict[str, Tensor]:
    """How far what a client returned is from what it received, at its new rank."""
    received = update.received.adapter
    rank = update.adapter.factors.rank
    if rank and rank < received.factors.rank:
        received = received.cut(rank)
    before, after = received.named_tensors(), update.adapter.named_tensors()
    return {name: after[name] - before[name] for name in only(after, plan.up)}
