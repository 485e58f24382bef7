"""What every strategy shares: sampling, messages, and checks on replies."""

from collections.abc import Callable, Iterable
from logging import INFO

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import AdapterState, only
from ilora_app.strategies import journal, measures, rounds
from ilora_app.strategies import messages as messages_
from ilora_app.strategies.evaluation import EVALUATE, Evaluation
from ilora_app.strategies.federation import Federation, Member, sample
from ilora_app.strategies.holdings import Holdings
from ilora_app.strategies.journal import Journal, Recorder
from ilora_app.strategies.limits import Limits
from ilora_app.strategies.replies import Asked, UnusableError, collect
from ilora_app.strategies.snapshot import Snapshot, put_back
from ilora_app.strategies.state import GlobalState, weights_of


class LoraStrategy(Evaluation, Strategy):
    """A Flower strategy over LoRA factors of unequal rank.

    The mathematics is in the hooks of :class:`~ilora_app.strategies.method.Method`.

    Args:
        fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes,
        min_available_nodes: as in Flower's FedAvg; never more nodes than there are.
        lora_scaling: s, for measures in units of the weights.
        seed: seeds the sampling of nodes.
        evaluate_every: rounds between evaluations; the last round always has one.
        evaluate_on: ``evaluate``, or ``train``: clients measure the model of a round
            when they train on it.
        drift_correction: the server half of a drift correction, or None.
        federation: members met before; None starts with none.
        recorder: receives events.
        limits: on what a reply may be; None has none.

    """

    def __init__(
        self,
        *,
        fraction_train: float = 1.0,
        fraction_evaluate: float = 1.0,
        min_train_nodes: int = 1,
        min_evaluate_nodes: int = 1,
        min_available_nodes: int = 2,
        lora_scaling: float = 1.0,
        seed: int = 0,
        evaluate_every: int = 1,
        evaluate_on: str = EVALUATE,
        drift_correction: ControlVariates | None = None,
        federation: Federation | None = None,
        recorder: Recorder | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.fraction_train = fraction_train
        self.fraction_evaluate = fraction_evaluate
        self.min_train_nodes = min_train_nodes
        self.min_evaluate_nodes = min_evaluate_nodes
        self.min_available_nodes = min_available_nodes
        self.lora_scaling = lora_scaling
        self.seed = seed
        self.drift_correction = drift_correction
        self.evaluate_every = evaluate_every
        self.evaluate_on = evaluate_on
        self.federation = federation or Federation()
        self.limits = limits or Limits()
        self.holdings = Holdings()
        self.journal = Journal(recorder)
        self.timeout = 3600.0
        self.num_rounds = 0
        self.after_round: Callable[[list[rounds.Row]], None] = lambda rows: None
        self._state: GlobalState | None = None
        self._rows: list[rounds.Row] = []
        self._before: dict[str, int | float] = {}
        self._asked: dict[int, Asked] = {}

    def summary(self) -> None:
        """Log the settings as a tree."""
        for line in journal.tree(self):
            log(INFO, "\t%s", line)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node its factors, cut to its rank, and its correction."""
        state = self.started(arrays)
        plan = self.plan(state)
        self._asked = {}
        messages = []
        for member in sample(
            self.members(state, self._present(grid)),
            self.fraction_train,
            self.min_train_nodes,
            f"{self.seed} train {server_round}",
        ):
            share, node = self.share(state, member.rank), member.node_id
            facts = {**config, wire.ROUND: server_round, wire.RANK: member.rank}
            facts |= self.on_the_way(server_round, member)
            correction: dict[str, Tensor] = {}
            if self.drift_correction:
                ranks = [self.trained_rank(state, r) for r in self.federation.ranks]
                rank = self.trained_rank(state, member.rank)
                correction = only(self.drift_correction.share(rank, ranks), plan.up)
                facts[wire.TAKEN] = self.drift_correction.last_taken(node)
            content = messages_.write(
                share, plan, state.ledger, self.holdings, node, facts
            )
            if self.drift_correction:
                content[wire.CORRECTION] = wire.encode_tensors(correction)
            self._asked[node] = Asked(member, share, plan, correction)
            messages.append(Message(content, node, MessageType.TRAIN))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check replies, leave out the bad ones, and aggregate the rest.

        With no good reply the model stays as it was and (None, None) is returned.
        """
        state = self.started()
        came = {reply.metadata.src_node_id: reply for reply in replies}
        updates, bad = collect(
            self._asked, came.values(), self.read_update, self.timeout
        )
        self.journal.replies_left_out(server_round, "train", bad)
        version = state.ledger.version if state.ledger else 0
        good = [update.member.node_id for update in updates]
        self.holdings.note(good, [member.node_id for member, _ in bad], version)
        self.measured_before(server_round, good, came)
        try:
            made, arrays = self.attempt(state, updates)
        except UnusableError as error:
            self.journal.model_stays(server_round, str(error))
            return None, None
        if self.drift_correction:
            self.drift_correction.aggregate(
                server_round,
                {u.member.node_id: u.correction for u in updates},
                old=self.share(state, state.adapter.factors.rank).adapter.factors,
                new=made.state.adapter.factors,
                anew=[u.member.node_id for u in updates if u.anew],
            )
        self.holdings.moved(state.adapter, made.state.adapter)
        self._state = made.state.contiguous()
        scaling = None if self.personal else self.lora_scaling
        ranks, weights = self.federation.ranks, weights_of(updates)
        found = measures.of_training(updates, weights, made.energy, ranks, scaling)
        for update in updates:
            self.federation.set_rank(update.member, update.rank)
        return arrays, MetricRecord({**found})

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run all rounds; arguments and result as in Flower's ``Strategy.start``.

        After :meth:`resume` it runs those that are left, and reads no initial arrays.
        """
        self.timeout, self.num_rounds = timeout, num_rounds
        rows, self._rows = self._rows, []
        if not rows:
            self._state, self.holdings = None, Holdings()
        state = self.started(initial_arrays)
        return rounds.run(
            self,
            grid,
            wire.encode_tensors(self.model(state).named_tensors()),
            num_rounds,
            timeout,
            train_config or ConfigRecord(),
            evaluate_config or ConfigRecord(),
            evaluate_fn,
            rows,
        )

    def resume(self, snapshot: Snapshot, rows: list[rounds.Row]) -> None:
        """Have :meth:`start` go on behind these rounds.

        Args:
            snapshot: from :func:`~ilora_app.strategies.snapshot.take`; its members have
                been told to the federation.
            rows: of the rounds so far, round 0 included.

        """
        self._state = put_back(self, snapshot)
        self._rows = list(rows)

    def started(self, arrays: ArrayRecord | None = None) -> GlobalState:
        """The current global model; made from ``arrays`` where there is none yet."""
        if self._state is None:
            assert arrays is not None, "the strategy has not started"
            initial = AdapterState.from_named_tensors(wire.decode_tensors(arrays))
            self._state = self.begin(initial).contiguous()
            self.federation.largest_rank = initial.factors.rank or None
            if self.drift_correction:
                self.drift_correction.begin(initial)
        return self._state

    def _present(self, grid: Grid) -> list[Member]:
        """Members that are connected; each is recorded when it first takes part."""
        present = self.federation.present(grid, self.min_available_nodes, self.timeout)
        returned, self.federation.returned = self.federation.returned, []
        for node in returned:
            self.holdings.take_over(node.old, node.new, node.restored)
            if self.drift_correction:
                rank = node.rank
                if rank is not None:
                    rank = self.trained_rank(self.started(), rank)
                self.drift_correction.take_over(node.old, node.new, node.restored, rank)
        self.journal.nodes(self.federation)
        return present
