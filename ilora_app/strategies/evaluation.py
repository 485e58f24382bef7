"""Evaluation by the clients: in messages of its own, or on the way of training.

With ``evaluate_on = "evaluate"`` a round has a second exchange, in which nodes measure
its model. With ``"train"`` a node measures the model that a training message brings
before it trains on it, so that a round is one message a node: what comes back belongs
to the round before, and only the last round has a message of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid

from ilora_app import wire
from ilora_app.strategies import measures
from ilora_app.strategies import messages as messages_
from ilora_app.strategies.federation import Member, sample
from ilora_app.strategies.holdings import Holdings
from ilora_app.strategies.journal import Journal
from ilora_app.strategies.replies import Asked, Replies, collect, read_evaluation
from ilora_app.strategies.state import GlobalState

MEASURED_BY_CLIENTS = ("client_", "held_out_")
"""Columns, by their beginning, of what clients measure on data of their own."""

EVALUATE, TRAIN = "evaluate", "train"


class Evaluation(Replies):
    """The part of a strategy that has clients evaluate."""

    fraction_evaluate: float
    min_evaluate_nodes: int
    seed: int
    evaluate_every: int
    evaluate_on: str
    holdings: Holdings
    journal: Journal
    timeout: float
    num_rounds: int
    _asked: dict[int, Asked]
    _before: dict[str, int | float]

    def started(self, arrays: ArrayRecord | None = None) -> GlobalState:
        """The current global model."""
        raise NotImplementedError

    def _present(self, grid: Grid) -> list[Member]:
        raise NotImplementedError

    def is_due(self, server_round: int) -> bool:
        """Whether the model is evaluated after this round."""
        last = server_round == self.num_rounds
        return last or server_round % self.evaluate_every == 0

    @property
    def measures_on_the_way(self) -> bool:
        """Whether training messages take the place of those of evaluation.

        Not where one node trains on the data of all: the others would not be asked.
        """
        return self.evaluate_on == TRAIN and not self.plan(self.started()).pooled

    def on_the_way(self, server_round: int, member: Member) -> dict[str, Any]:
        """What a training message says of evaluating the model of the round before."""
        before = server_round - 1
        if not self.measures_on_the_way or not before or not self.is_due(before):
            return {}
        if not (self.personal or member.held_out):
            return {}
        return {wire.EVALUATE: True, wire.TEST_SPLIT: self.personal}

    def measured_before(
        self, server_round: int, good: Iterable[int], replies: Mapping[int, Message]
    ) -> None:
        """Note what came with the training replies of a round, of the one before.

        Args:
            server_round: of the replies.
            good: nodes whose updates are used.
            replies: by node id.

        """
        asked = {
            node: self._asked[node]
            for node in good
            if self.on_the_way(server_round, self._asked[node].member)
        }
        found, bad = collect(
            asked,
            (replies[node] for node in asked),
            lambda reply, question: _whose(reply, question, wire.EVALUATION),
            self.timeout,
        )
        self.journal.replies_left_out(server_round, "evaluate", bad)
        self.journal.clients(server_round - 1, found)
        results = [result for _, result in found]
        self._before = measures.of_evaluation(results) if results else {}

    def take_measured_before(self) -> dict[str, int | float]:
        """Hand out, once, what the clients measured of the round before."""
        found, self._before = self._before, {}
        return found

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node what it would hold of the new model.

        Where clients end with models of their own, all of them are asked, and measure
        theirs on the test split as well.
        """
        self._asked = {}
        if server_round < self.num_rounds and self.measures_on_the_way:
            return []
        if not self.is_due(server_round):
            return []
        state = self.started(arrays)
        plan = self.plan(state)
        members = present = self._present(grid)
        if not self.personal:
            members = sample(
                [member for member in present if member.held_out],
                self.fraction_evaluate,
                self.min_evaluate_nodes,
                f"{self.seed} evaluate {server_round}",
            )
        self._asked = {
            m.node_id: Asked(m, self.evaluated(state, m.rank), plan) for m in members
        }
        facts = {**config, wire.ROUND: server_round, wire.TEST_SPLIT: self.personal}
        return [
            Message(
                messages_.write(
                    asked.share,
                    plan,
                    state.ledger,
                    self.holdings,
                    node,
                    {**facts, wire.RANK: asked.member.rank},
                ),
                node,
                MessageType.EVALUATE,
            )
            for node, asked in self._asked.items()
        ]

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Mean, worst and spread of what the clients measured on their own data."""
        found, bad = collect(self._asked, replies, _whose, self.timeout)
        self.journal.replies_left_out(server_round, "evaluate", bad)
        self.journal.clients(server_round, found)
        results = [result for _, result in found]
        return MetricRecord({**measures.of_evaluation(results)}) if results else None


def _whose(
    reply: Message, asked: Asked, name: str = wire.METRICS
) -> tuple[Member, dict[str, float]]:
    """Read an evaluation reply, and say whose it is."""
    return asked.member, read_evaluation(reply, asked, name)
