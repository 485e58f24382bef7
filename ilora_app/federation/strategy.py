"""A Flower Strategy over LoRA factors of unequal rank, put together from its parts."""

from collections.abc import Callable, Iterable
from functools import partial
from logging import INFO

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from ilora_app import wire
from ilora_app.corrections import Correction
from ilora_app.federation import metrics, snapshot, summary
from ilora_app.federation.aggregation import UnusableError, aggregate
from ilora_app.federation.deadlines import Deadlines
from ilora_app.federation.evaluation import EVALUATE, TRAIN, Evaluation
from ilora_app.federation.event_log import EventLog, Recorder
from ilora_app.federation.global_model import GlobalModel
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.membership import Membership
from ilora_app.federation.participation import Participation
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.federation.rounds import AfterRound, Rounds, Row, Stop
from ilora_app.federation.snapshot import Snapshot
from ilora_app.federation.spool import Spool
from ilora_app.federation.training import Training
from ilora_app.federation.waiting import wait
from ilora_app.lora.factors import AdapterState
from ilora_app.methods import Method
from ilora_app.methods.state import GlobalState, weights_of


class LoraStrategy(Strategy):
    """Runs a method over the members of a federation.

    Args:
        method: the mathematics.
        participation: who takes part in a round.
        lora_scaling: s, for measures in units of the weights.
        evaluate_every: rounds between evaluations; the last round always has one.
        evaluate_on: ``evaluate``, or ``train``: see ``evaluation``.
        drift_correction: the server half of a drift correction, or None.
        membership: members met before; None starts with none.
        recorder: receives events.
        limits: on what a reply may be; None has none.
        ridge_head: solves the head by sums over clients; None has it trained.
        frozen_head: clients train the factors alone.
        deadlines: of rounds; None waits for all.
        wire_dtype: in which numbers of training travel.

    """

    def __init__(
        self,
        method: Method,
        participation: Participation | None = None,
        *,
        lora_scaling: float = 1.0,
        evaluate_every: int = 1,
        evaluate_on: str = EVALUATE,
        drift_correction: Correction | None = None,
        membership: Membership | None = None,
        recorder: Recorder | None = None,
        limits: Limits | None = None,
        ridge_head: RidgeHead | None = None,
        frozen_head: bool = False,
        deadlines: Deadlines | None = None,
        wire_dtype: str = wire.FLOAT32,
    ) -> None:
        self.method, self.lora_scaling = method, lora_scaling
        self.participation = participation or Participation()
        self.drift_correction = drift_correction
        self.membership = membership or Membership()
        self.limits, self.ridge_head = limits or Limits(), ridge_head
        self.model = GlobalModel(method, frozen_head)
        self.events = EventLog(recorder, self.membership.standing)
        how = self.participation, self.events, evaluate_every, evaluate_on, self.limits
        self.evaluation = Evaluation(method, *how)
        encoding = wire.Encoding(wire_dtype, self.participation.seed)
        more = self.limits, lora_scaling, deadlines, encoding
        self._training = Training(method, drift_correction, *more)
        self.deadlines, self.wire_dtype = deadlines, wire_dtype
        self.spool: Spool | None = None
        self._timeout, self.num_rounds, self._rows = 3600.0, 0, list[Row]()

    @property
    def state(self) -> GlobalState:
        """Of the method, after the last round."""
        return self.model.state

    def global_model(self, rank: int | None = None) -> AdapterState:
        """Plain LoRA on the untouched base, and the head: of a rank, or all of it."""
        return self.model.adapter(rank)

    def summary(self) -> None:
        """Log the settings as a tree."""
        how = self.participation, self.drift_correction, self.method
        for line in summary.tree(*how):
            log(INFO, "\t%s", line)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        after_round: AfterRound | None = None,
        stop: Stop | None = None,
    ) -> Result:
        """Run all rounds as in Flower's ``Strategy``, or what :meth:`resume` leaves."""
        self._timeout, self.num_rounds = timeout, num_rounds
        rows, self._rows = self._rows, []
        if not rows:
            self.begin(initial_arrays)
        log(INFO, "Starting %s:", type(self.method).__name__)
        self.summary()
        least = self.participation.min_available_nodes
        wait(grid, least, timeout, settle=not self.membership.members)
        configs = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        self._training.reader.spool = self.spool
        hooks = self.events, self.refit, after_round, self.until(stop)
        most = self.limits.max_reply_megabytes
        how = *hooks, most, self.spool, self.method.trains, self.end_after
        rounds = Rounds(self, self.membership, self.evaluation, *how)
        begins = grid, self.model.arrays(), num_rounds, timeout
        return rounds.run(*begins, *configs, evaluate_fn, rows)

    def end_after(self, server_round: int) -> None:
        """Take a round for the last one, whatever was asked for."""
        self.num_rounds = server_round

    def until(self, stop: Stop | None) -> Stop | None:
        """What ends a run early, given what its starter wants."""
        return stop

    def begin(self, arrays: ArrayRecord) -> None:
        """Make the global model before round 1."""
        initial = AdapterState.from_named_tensors(wire.model_tensors(arrays))
        self.model.begin(initial)
        self.membership.limit_rank(initial.factors.rank)
        if self.drift_correction:
            self.drift_correction.begin(initial)

    def snapshot(self) -> Snapshot:
        """All that is carried from round to round, for a checkpoint."""
        parts = self.model, self.membership, self.drift_correction, self.deadlines
        return snapshot.take(*parts)

    def resume(self, taken: Snapshot, rows: list[Row]) -> None:
        """Have :meth:`start` go on behind these rounds.

        Args:
            taken: from :meth:`snapshot`; ``snapshot.expect_members`` comes first.
            rows: of the rounds so far, round 0 included.

        """
        self._rows = list(rows)
        snapshot.put_back(taken, self.model, self.drift_correction, self.deadlines)

    def refit(
        self, server_round: int, grid: Grid, config: ConfigRecord
    ) -> tuple[ArrayRecord | None, Row]:
        """Solve a ridge head where it is due; returns the model, and what it cost."""
        ridge = self.ridge_head
        when = server_round, self.num_rounds, self.model.head_solved
        if ridge is None or not ridge.is_due(*when):
            return None, {}
        what = self.method, self.model, self._present(grid), grid, config
        row = ridge.solve(server_round, *what, self._timeout, self.events)
        return self.model.arrays(), row

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node its factors and its correction; with nobody, raise."""
        if not self.model.has_begun:
            self.begin(arrays)
        there = self.membership.some(self._present(grid), server_round)
        present = self.events.standing.agreeing(there)
        chosen = self.method.participants(self.state, [m.rank for m in present])
        members = [present[i].at_rank(rank) for i, rank in chosen]
        measure, rounds = self.evaluation.with_training, self.num_rounds
        evaluation = partial(measure, server_round, rounds, self.model.plan())
        return self._training.configure(
            server_round,
            self.model,
            self.participation.draw_train(members, server_round),
            self.membership.members,
            lambda member: {**config, **evaluation(member)},
            rounds,
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the good replies; (None, None) of none: the model stays."""
        state = self.state
        by_node = {r.metadata.src_node_id: r for r in replies}
        updates, bad = self._training.read(by_node, self.events.standing.waited)
        passed, shrunk = self._training.passed_over, self._training.shrunk
        good = [update.node for update in updates] + passed
        self.events.replies(server_round, TRAIN, good, bad, shrunk, passed)
        version = state.ledger.version if state.ledger else 0
        self.model.versions.note(good, [m.node_id for m, _ in bad], version)
        asked, rounds = self._training.requests(good), self.num_rounds
        self.evaluation.read_with_training(server_round, asked, by_node, rounds)
        try:
            after = partial(self._training.correct, server_round, state, updates)
            how = (self.method, self.limits, self.model, updates, after)
            made, arrays = aggregate(*how)
        except UnusableError as error:
            self.events.model_stays(server_round, str(error))
            return None, None
        self.model.advance(made.state)
        self.model.versions.take([u.node for u in updates], server_round)
        scaling = None if self.method.personal else self.lora_scaling
        ranks, weights = self.membership.ranks, weights_of(updates)
        found = metrics.of_training(updates, weights, made.energy, ranks, scaling)
        self.membership.set_ranks({u.node: u.next_rank for u in updates})
        return arrays, MetricRecord({**found})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node what it would hold of the new model."""
        if not self.model.has_begun:
            self.begin(arrays)
        how = self.model, partial(self._present, grid), config
        return self.evaluation.configure(server_round, self.num_rounds, *how)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Mean, worst and spread of what the clients measured on their own data."""
        return self.evaluation.aggregate(server_round, replies)

    def _present(self, grid: Grid) -> list[Member]:
        """Members that are connected; each is recorded when it first takes part."""
        least = self.participation.min_available_nodes
        present = self.membership.present(grid, least, self._timeout)
        for rejoin in self.membership.take_rejoins():
            self.model.versions.take_over(rejoin.old, rejoin.new, rejoin.restored)
            self._training.take_over(rejoin, self.state)
        self.events.nodes(self.membership)
        return present
