"""Evaluation by the clients: in messages of its own, or in those of training.

With ``evaluate_on = "evaluate"`` a round has a second exchange, in which nodes measure
its model. With ``"train"`` a node measures the model that a training message brings
before it trains on it, so that a round is one message a node: what comes back belongs
to the round before, and only the last round has a message of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, MetricRecord

from ilora_app import wire
from ilora_app.federation import messages, metrics
from ilora_app.federation.event_log import EventLog
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.participation import Participation
from ilora_app.federation.replies import Request, collect, read_evaluation
from ilora_app.methods import Method
from ilora_app.methods.state import Plan

MEASURED_BY_CLIENTS = ("client_", "held_out_")
"""Columns, by their beginning, of what clients measure on data of their own."""

EVALUATE, TRAIN = "evaluate", "train"


class Evaluation:
    """Has clients evaluate, and reads what they found.

    Args:
        method: says what a client evaluates.
        participation: who is asked.
        events: what was found is recorded there.
        every: rounds between evaluations; the last round always has one.
        on: ``evaluate`` or ``train``.
        limits: on the held-out examples that a client counts for.

    Attributes:
        scored: what is learned has an accuracy.
        requests: what nodes were asked in this round, by node id.

    """

    def __init__(
        self,
        method: Method,
        participation: Participation,
        events: EventLog,
        every: int = 1,
        on: str = EVALUATE,
        limits: Limits | None = None,
    ) -> None:
        self._method = method
        self._participation = participation
        self._events = events
        self._every, self._limits = every, limits or Limits()
        self._on, self.scored = on, True
        self.requests: dict[int, Request] = {}
        self._earlier: dict[str, int | float] = {}

    def is_due(self, server_round: int, num_rounds: int) -> bool:
        """Whether the model is evaluated after this round."""
        return server_round == num_rounds or server_round % self._every == 0

    def with_training(
        self, server_round: int, num_rounds: int, plan: Plan, member: Member
    ) -> dict[str, Any]:
        """What a training message says of evaluating the model of the round before."""
        before = server_round - 1
        if not self._is_on_training(plan) or not before:
            return {}
        if not self.is_due(before, num_rounds):
            return {}
        if not (self._method.personal or member.held_out):
            return {}
        return {wire.EVALUATE: True, wire.TEST_SPLIT: self._method.personal}

    def read_with_training(
        self,
        server_round: int,
        requests: Mapping[int, Request],
        replies: Mapping[int, Message],
        num_rounds: int,
    ) -> None:
        """Note what came with the training replies of a round, of the one before.

        Args:
            server_round: of the replies.
            requests: to the nodes whose updates are used, by node id.
            replies: by node id.
            num_rounds: of the run.

        """
        asked = {
            node: replace(request, test_split=self._method.personal)
            for node, request in requests.items()
            if self.with_training(
                server_round, num_rounds, request.plan, request.member
            )
        }
        found, bad = collect(
            asked,
            (replies[node] for node in asked),
            partial(self._read, name=wire.EVALUATION),
            self._events.standing.waited,
        )
        results = self._said(server_round, server_round - 1, found, bad)
        self._earlier = self._columns(results)

    def note_earlier(self, found: Mapping[str, int | float]) -> None:
        """Keep what the clients measured of the round before, where it is summed."""
        self._earlier = dict(found)

    def take_earlier(self) -> dict[str, int | float]:
        """Hand out, once, what the clients measured of the round before."""
        found, self._earlier = self._earlier, {}
        return found

    def configure(
        self,
        server_round: int,
        num_rounds: int,
        model: GlobalModel,
        present: Callable[[], list[Member]],
        config: ConfigRecord,
    ) -> list[Message]:
        """Send each sampled node what it would hold of the new model.

        None where the round is not evaluated, or in the training of the next. Where
        clients end with models of their own, all of them are asked, and measure theirs
        on the test split as well.
        """
        self.requests, plan = {}, model.plan()
        later = server_round < num_rounds and self._is_on_training(plan)
        if later or not self.is_due(server_round, num_rounds):
            return []
        personal, members = self._method.personal, present()
        if not personal:
            members = self._participation.draw_evaluate(
                [member for member in members if member.held_out], server_round
            )
        self.requests = {
            member.node_id: Request(
                member,
                self._method.evaluation_share(model.state, member.rank),
                plan,
                test_split=personal,
            )
            for member in members
        }
        facts = {**config, wire.ROUND: server_round, wire.TEST_SPLIT: personal}
        sent, shared = [], messages.Shared()
        for node, request in self.requests.items():
            own = {**facts, wire.RANK: request.member.rank}
            content = messages.write(request.share, plan, model, node, own)
            sent.append(Message(shared(content), node, MessageType.EVALUATE))
        return sent

    def aggregate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Mean, worst and spread of what the clients measured on their own data."""
        waited = self._events.standing.waited
        found, bad = collect(self.requests, replies, self._read, waited)
        results = self._said(server_round, server_round, found, bad)
        return MetricRecord({**self._columns(results)}) if results else None

    def _said(
        self,
        server_round: int,
        measured: int,
        found: Sequence[tuple[Member, dict[str, float]]],
        bad: Sequence[tuple[Member, str]],
    ) -> list[dict[str, float]]:
        """Record what came in a round of the model of a round; give the results."""
        used = [member.node_id for member, _ in found]
        self._events.replies(server_round, EVALUATE, used, bad)
        self._events.clients(measured, found)
        return [result for _, result in found]

    def _columns(self, results: Sequence[dict[str, float]]) -> dict[str, int | float]:
        ratio = self._limits.max_examples_ratio
        return metrics.of_evaluation(results, ratio) if results else {}

    def _is_on_training(self, plan: Plan) -> bool:
        """Whether training messages take the place of those of evaluation.

        Not where one node trains on the data of all: the others would not be asked.
        """
        return self._on == TRAIN and not plan.pooled

    def _read(
        self, reply: Message, request: Request, name: str = wire.METRICS
    ) -> tuple[Member, dict[str, float]]:
        """Read an evaluation reply, and say whose it is."""
        return request.member, read_evaluation(reply, request, name, self.scored)
