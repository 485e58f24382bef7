"""A strategy of which the server sees sums over a round's nodes, and no reply.

What a message asks of a node is as in :class:`LoraStrategy`; the answers come masked,
and are opened together. A method aggregates one update, of all nodes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from logging import WARNING
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections.summed_variates import SummedVariates
from ilora_app.federation import blind_sums
from ilora_app.federation.aggregation import UnusableError, aggregate
from ilora_app.federation.blind_head import solve
from ilora_app.federation.blind_views import views
from ilora_app.federation.evaluation import EVALUATE, TRAIN
from ilora_app.federation.member import Member
from ilora_app.federation.replies import Request
from ilora_app.federation.rounds import Row
from ilora_app.federation.secure_session import SecureSession
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.methods.sums import Sketch
from ilora_app.secure import SecureError, Terms

_UNUSABLE = (SecureError, UnusableError, wire.WireError)


class BlindStrategy(LoraStrategy):
    """Runs a method over sums.

    Args:
        arguments: of :class:`LoraStrategy`.
        least: nodes without which no sum is opened.

    Attributes:
        behind: nodes send of Q^T D the columns behind those of the first sum alone.

    """

    behind = False

    def __init__(self, *arguments: Any, least: int = 3, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._least = least
        self._session: SecureSession | None = None
        self._like: blind_sums.Shapes = {}
        self._measured, self._measured_in = False, -1

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Have nodes share their secrets, and send those that have what they train."""
        sent = list(super().configure_train(server_round, arrays, config, grid))
        self._session = None
        if not sent:
            return []
        nodes = [message.metadata.dst_node_id for message in sent]
        requests = self._training.requests(nodes)
        sketch = self.sketch(server_round)
        run, passes = sent[0].metadata.run_id, sketch.passes + 1
        terms = Terms(run, server_round, "train", passes, self._least)
        members = [request.member for request in requests.values()]
        control: Mapping[str, Tensor] = {}
        if isinstance(self.drift_correction, SummedVariates):
            control = self.drift_correction.shapes()
        by_direction = bool(control) or self.method.sums_directions()
        session = self._begun(terms, members, grid, config, by_direction)
        if session is None:
            return []
        if (shared := session.key_set.shared_rank(session.peers)) < sketch.rank:
            means = self.method.sums_directions()
            what = "none is sent" if means else "no control variate of them is sent"
            text = (
                f"round %d: fewer than %d nodes hold the directions beyond %d: {what}"
            )
            if by_direction:
                log(WARNING, text, server_round, self._least, shared)
        evaluates = wire.EVALUATE in sent[0].content.config_records[wire.CONFIG]
        state, plan = self.state, self.model.plan()
        self._like = blind_sums.shapes(state, plan, sketch, control, evaluates)
        self._session = session
        facts = self._facts(sketch)
        return self._with_letters(sent, requests, 0, **facts)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Open the sums of a round, and make the next model of them."""
        session, state = self._session, self.state
        if session is None:
            return None, None
        masked, bad = session.collect(replies, blind_sums.size(self._like), TRAIN)
        self.model.versions.note(masked, bad, 0)
        sketch = self.sketch(server_round)
        try:
            if len(masked) < self.limits.min_replies:
                raise UnusableError(
                    f"usable replies: {len(masked)}, min-replies is "
                    f"{self.limits.min_replies}"
                )
            sums = wire.unflatten(session.open(0, masked), self._like)
            if blind_sums.EVALUATION in sums:
                self.evaluation.note_earlier(blind_sums.of_evaluation(sums))
            how = self.method, state, sketch, session, sums, self._facts(sketch)
            update = blind_sums.update_of(*how, self.behind)
            left, examples = list(session.peers), float(sums["examples"])
            ranks = {
                m.node_id: self.method.trained_rank(state, m.rank)
                for m in session.members
                if m.node_id in masked
            }
            if isinstance(self.drift_correction, SummedVariates):
                even = self.drift_correction.weights != "examples"
                unit = float(session.most_examples) if even else 1.0
                changes = blind_sums.control_of(sums, unit)
                update = replace(update, correction=changes)
                self.drift_correction.counted(ranks, examples, sums["held"])
            after = partial(self._training.correct, server_round, state, [update])
            limits = replace(self.limits, min_replies=1)
            made, arrays = aggregate(self.method, limits, self.model, [update], after)
        except _UNUSABLE as error:
            self._session = None
            self.events.model_stays(server_round, str(error))
            return None, None
        self.model.advance(made.state)
        self.model.versions.take(left, server_round)
        found = blind_sums.of_training(sums, len(masked)) | session.costs.columns()
        return arrays, MetricRecord({**found})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask those whose updates are in the model, with keys of the round: once."""
        if self._measured_in == server_round:
            return []
        sent = list(super().configure_evaluate(server_round, arrays, config, grid))
        self._measured = bool(sent and self._session)
        if not self._measured or self._session is None:
            return []
        self._measured_in, last = server_round, self._session.terms.passes - 1
        return self._with_letters(sent, self.evaluation.requests, last)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Open what the nodes measured, summed."""
        session = self._session
        if session is None or not self._measured:
            return None
        like = blind_sums.MEASURES
        masked, _ = session.collect(replies, blind_sums.size(like), EVALUATE)
        found = dict(session.costs.columns())
        try:
            total = session.open(session.terms.passes - 1, masked)
            found |= blind_sums.of_evaluation(wire.unflatten(total, like))
            found |= session.costs.columns()
        except _UNUSABLE as error:
            log(WARNING, "round %d is not measured by nodes: %s", server_round, error)
        return MetricRecord({**found})

    def refit(
        self, server_round: int, grid: Grid, config: ConfigRecord
    ) -> tuple[ArrayRecord | None, Row]:
        """Solve a ridge head of sums that nodes mask, where it is due."""
        ridge = self.ridge_head
        when = server_round, self.num_rounds, self.model.head_solved
        if ridge is None or not ridge.is_due(*when):
            return None, {}
        members = self._present(grid)
        requests, sent = ridge.questions(
            server_round, self.method, self.model, members, config
        )
        run = sent[0].metadata.run_id if sent else 0
        terms = Terms(run, server_round, "head", 1, self._least)
        session = self._begun(terms, members, grid, config)
        if session is None:
            return None, {}
        asked = self._with_letters(sent, requests, 0, session)
        row = solve(ridge, session, asked, self.model)
        return self.model.arrays(), row

    def sketch(self, server_round: int) -> Sketch:
        """Which sums of products a round takes."""
        # Another in each round and under each seed of a run, which has 32 bits.
        seed = self.participation.seed + (server_round << 32)
        rank = self.state.adapter.factors.rank
        return Sketch(self.method.sums(self.state), rank, seed)

    def more_facts(self) -> dict[str, Any]:
        """What nodes are told beside which sums are made."""
        return {}

    def _facts(self, sketch: Sketch) -> dict[str, Any]:
        """What nodes are told of a sketch."""
        return {
            wire.SUMS: sketch.sums.kind,
            wire.CHANGED: sketch.sums.changed,
            wire.TOP_RANK: sketch.rank,
            wire.SKETCH_SEED: sketch.seed,
            **self.more_facts(),
        }

    def _begun(
        self,
        terms: Terms,
        members: list[Member],
        grid: Grid,
        config: ConfigRecord,
        by_direction: bool = False,
    ) -> SecureSession | None:
        """A session in which enough nodes have shared their secrets."""
        how = grid, members, self._timeout, self.events
        most = self.limits.max_examples, self.limits.max_reply_megabytes
        finished = terms.round - (terms.purpose == "train")
        restore = ConfigRecord({**config, wire.ROUND: finished})
        session = SecureSession(terms, *how, *most, restore, by_direction)
        try:
            session.begin()
        except SecureError as error:
            self.events.model_stays(terms.round, str(error))
            return None
        return session

    def _with_letters(
        self,
        sent: Iterable[Message],
        requests: Mapping[int, Request],
        number: int,
        session: SecureSession | None = None,
        **facts: Any,
    ) -> list[Message]:
        """Messages to the nodes of a session, as parts of a pass."""
        session = session or self._session
        assert session is not None
        found = [m for m in sent if m.metadata.dst_node_id in session.peers]
        facts |= views(found, requests)
        for message in found:
            node = message.metadata.dst_node_id
            message.content[wire.SECURE] = session.facts(node, number, **facts)
        return found
