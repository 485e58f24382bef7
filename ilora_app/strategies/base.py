"""What every strategy shares: sampling, messages, and checks on replies."""

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable
from logging import INFO, WARNING
from typing import Any, TypeVar

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.lora.factors import AdapterState
from ilora_app.settings import Settings
from ilora_app.strategies import measures, rounds
from ilora_app.strategies.federation import Federation, Member
from ilora_app.strategies.replies import read_evaluation, read_update
from ilora_app.strategies.rounds import Recorder, Silent
from ilora_app.strategies.state import Aggregate, ModelState, Update, weights_of

T = TypeVar("T")


class LoraStrategy(Strategy):
    """A Flower strategy over LoRA factors of unequal rank.

    The mathematics of a method is in three hooks over plain values: :meth:`begin`,
    :meth:`share` and :meth:`aggregate`.

    Args:
        fraction_train, fraction_evaluate, min_train_nodes, min_evaluate_nodes,
        min_available_nodes: as in Flower's FedAvg; never more nodes than there are.
        lora_scaling: s, for measures in units of the weights.
        seed: seeds the sampling of nodes.
        drift_correction: the server half of a drift correction, or None.
        federation: members met before; None starts with none.
        recorder: receives events.

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
        drift_correction: ControlVariates | None = None,
        federation: Federation | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.fraction_train = fraction_train
        self.fraction_evaluate = fraction_evaluate
        self.min_train_nodes = min_train_nodes
        self.min_evaluate_nodes = min_evaluate_nodes
        self.min_available_nodes = min_available_nodes
        self.lora_scaling = lora_scaling
        self.seed = seed
        self.drift_correction = drift_correction
        self.federation = federation or Federation()
        self.recorder: Recorder = recorder or Silent()
        self.timeout = 3600.0
        self._state: ModelState | None = None
        self._asked: dict[int, tuple[Member, ModelState, dict[str, Tensor]]] = {}

    # -- the mathematics ---------------------------------------------------------------

    @abstractmethod
    def begin(self, initial: AdapterState) -> ModelState:
        """Make the global model before round 1 from the initial arrays."""

    @abstractmethod
    def share(self, state: ModelState, rank: int) -> ModelState:
        """Cut what a client of ``rank`` receives."""

    @abstractmethod
    def aggregate(self, state: ModelState, updates: list[Update]) -> Aggregate:
        """Make the next global model from checked updates, in a fixed order."""

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """Constructor arguments of this method alone, from the run config."""
        return {}

    def model(self, rank: int | None = None) -> ModelState:
        """Return what a client of ``rank`` would hold now; None: the global model."""
        assert self._state is not None, "the strategy has not started"
        return self.share(self._state, rank or self._state.adapter.factors.rank)

    # -- Flower's interface ------------------------------------------------------------

    def summary(self) -> None:
        """Log the settings as a tree."""
        log(INFO, "\t├──> Sampling:")
        log(
            INFO,
            "\t│\t├── Fraction: train (%.2f) | evaluate (%.2f)",
            self.fraction_train,
            self.fraction_evaluate,
        )
        log(
            INFO,
            "\t│\t├── Minimum nodes: train (%d) | evaluate (%d)",
            self.min_train_nodes,
            self.min_evaluate_nodes,
        )
        log(INFO, "\t│\t└── Minimum available nodes: %d", self.min_available_nodes)
        log(INFO, "\t├──> Drift correction: %s", self.drift_correction or "none")

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node its factors, cut to its rank, and its correction."""
        state = self.started(arrays)
        self._asked = {}
        messages = []
        present = self.federation.meet(grid, self.timeout)
        for member in self._sample(
            present, self.fraction_train, self.min_train_nodes, f"train {server_round}"
        ):
            model = self.share(state, member.rank)
            content = _content(model, config, server_round)
            correction: dict[str, Tensor] = {}
            if self.drift_correction:
                correction = self.drift_correction.share(member.rank)
                content[wire.CORRECTION] = wire.encode_tensors(correction)
            self._asked[member.node_id] = (member, model, correction)
            messages.append(Message(content, member.node_id, MessageType.TRAIN))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check replies, leave out the bad ones, and aggregate the rest.

        With no good reply the model stays as it was and (None, None) is returned.
        """
        state = self._state
        assert state is not None, "configure_train() comes first"
        updates: list[Update] = self._read(
            server_round,
            replies,
            "train",
            lambda reply, node: read_update(reply, *self._asked[node]),
        )
        if not updates:
            self._stay(server_round, "no usable reply")
            return None, None
        made = self.aggregate(state, updates)
        if not all(t.isfinite().all() for t in made.state.named_tensors().values()):
            self._stay(server_round, "the aggregate is not finite")
            return None, None
        if self.drift_correction:
            self.drift_correction.aggregate(
                [update.correction for update in updates],
                self.federation.ranks,
                old=self.model().adapter.factors,
                new=made.state.adapter.factors,
            )
        self._state = made.state
        found = measures.of_training(
            updates,
            weights_of(updates),
            made.energy,
            self.federation.ranks,
            self.lora_scaling,
        )
        return wire.encode_tensors(self.model().named_tensors()), MetricRecord(
            {**found}
        )

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node what it would hold of the new model."""
        state = self.started(arrays)
        present = self.federation.meet(grid, self.timeout)
        members = self._sample(
            [member for member in present if member.held_out],
            self.fraction_evaluate,
            self.min_evaluate_nodes,
            f"evaluate {server_round}",
        )
        self._asked = {m.node_id: (m, self.share(state, m.rank), {}) for m in members}
        return [
            Message(_content(model, config, server_round), node, MessageType.EVALUATE)
            for node, (_, model, _) in self._asked.items()
        ]

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Mean, worst and spread of what the clients measured on their own data."""
        results: list[dict[str, float]] = self._read(
            server_round, replies, "evaluate", lambda reply, _: read_evaluation(reply)
        )
        return MetricRecord({**measures.of_evaluation(results)}) if results else None

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
        """Run all rounds; arguments and result as in Flower's ``Strategy.start``."""
        self.timeout = timeout
        self._state = None
        arrays = wire.encode_tensors(self._begun(initial_arrays).named_tensors())
        return rounds.run(
            self,
            grid,
            arrays,
            num_rounds,
            timeout,
            train_config or ConfigRecord(),
            evaluate_config or ConfigRecord(),
            evaluate_fn,
        )

    # -- inside ------------------------------------------------------------------------

    def started(self, arrays: ArrayRecord) -> ModelState:
        """The current global model; made from ``arrays`` where there is none yet."""
        if self._state is None:
            self._begun(arrays)
        assert self._state is not None
        return self._state

    def _begun(self, arrays: ArrayRecord) -> ModelState:
        initial = AdapterState.from_named_tensors(wire.decode_tensors(arrays))
        self._state = self.begin(initial)
        self.federation.largest_rank = initial.factors.rank
        if self.drift_correction:
            self.drift_correction.begin(initial)
        return self.model()

    def _sample(
        self, present: list[Member], fraction: float, least: int, purpose: str
    ) -> list[Member]:
        """Draw members for one round: seeded, and independent of node ids."""
        if fraction == 0.0:
            return []
        size = min(max(int(len(present) * fraction), least), len(present))
        source = random.Random(f"{self.seed} {purpose}")
        return [present[i] for i in sorted(source.sample(range(len(present)), size))]

    def _read(
        self,
        server_round: int,
        replies: Iterable[Message],
        purpose: str,
        read: Callable[[Message, int], T],
    ) -> list[T]:
        """Read replies in the order of members; log and leave out the bad ones."""
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        good = []
        for node, (member, _, _) in self._asked.items():
            reply = by_node.get(node)
            try:
                if reply is None:
                    raise wire.WireError(f"no reply within {self.timeout:g} s")
                if reply.has_error():
                    raise wire.WireError(str(reply.error.reason))
                good.append(read(reply, node))
            except wire.WireError as error:
                log(
                    WARNING, "round %d: %s is left out: %s", server_round, member, error
                )
                self.recorder.event(
                    "reply-left-out",
                    round=server_round,
                    purpose=purpose,
                    node=node,
                    partition=member.partition,
                    reason=str(error),
                )
        return good

    def _stay(self, server_round: int, reason: str) -> None:
        log(WARNING, "round %d: %s, the model stays as it was", server_round, reason)
        self.recorder.event("model-unchanged", round=server_round, reason=reason)


def _content(model: ModelState, config: ConfigRecord, server_round: int) -> RecordDict:
    config = ConfigRecord({**config, wire.ROUND: server_round})
    arrays = wire.encode_tensors(model.named_tensors())
    return RecordDict({wire.ARRAYS: arrays, wire.CONFIG: config})
