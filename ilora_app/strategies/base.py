"""What every strategy shares: sampling, messages, and checks on replies."""

from collections.abc import Callable, Iterable
from logging import INFO, WARNING

import numpy as np
import torch
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
from ilora_app.strategies import measures, rounds
from ilora_app.strategies.federation import (
    Federation,
    FederationError,
    Member,
    sample,
)
from ilora_app.strategies.journal import Journal, Recorder
from ilora_app.strategies.method import Method
from ilora_app.strategies.replies import Asked, collect, read_evaluation, read_update
from ilora_app.strategies.state import GlobalState, Share, weights_of

# A node that comes later and does not say its rank in this time is asked again later.
_QUERY_SECONDS = 60.0


class LoraStrategy(Method, Strategy):
    """A Flower strategy over LoRA factors of unequal rank.

    The mathematics is in the hooks of :class:`~ilora_app.strategies.method.Method`.

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
        self.journal = Journal(recorder)
        self.timeout = 3600.0
        self._state: GlobalState | None = None
        self._asked: dict[int, Asked] = {}

    def summary(self) -> None:
        """Log the settings as a tree."""
        for line in (
            "├──> Sampling:",
            f"│\t├── Fraction: train ({self.fraction_train:.2f}) | evaluate "
            f"({self.fraction_evaluate:.2f})",
            f"│\t├── Minimum nodes: train ({self.min_train_nodes}) | evaluate "
            f"({self.min_evaluate_nodes})",
            f"│\t└── Minimum available nodes: {self.min_available_nodes}",
            f"├──> Drift correction: {self.drift_correction or 'none'}",
        ):
            log(INFO, "\t%s", line)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node its factors, cut to its rank, and its correction."""
        state = self.started(arrays)
        self._asked = {}
        messages = []
        present = self._present(grid)
        for member in sample(
            present,
            self.fraction_train,
            self.min_train_nodes,
            f"{self.seed} train {server_round}",
        ):
            share = self.share(state, member.rank)
            content = _content(share, config, server_round)
            correction: dict[str, Tensor] = {}
            if self.drift_correction:
                correction = self.drift_correction.share(
                    member.rank, self.federation.ranks
                )
                content[wire.CORRECTION] = wire.encode_tensors(correction)
                taken = self.drift_correction.last_taken(member.node_id)
                content.config_records[wire.CONFIG][wire.TAKEN] = taken
            self._asked[member.node_id] = Asked(member, share, correction)
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
        updates, bad = collect(self._asked, replies, read_update, self.timeout)
        self.journal.replies_left_out(server_round, "train", bad)
        if not updates:
            self.journal.model_stays(server_round, "no usable reply")
            return None, None
        try:
            made = self.aggregate(state, updates)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            self.journal.model_stays(
                server_round, f"the aggregate cannot be computed ({error})"
            )
            return None, None
        arrays = wire.encode_tensors(self.model(made.state).named_tensors())
        if not all(np.isfinite(array.numpy()).all() for array in arrays.values()):
            self.journal.model_stays(server_round, "the aggregate is not finite")
            return None, None
        if self.drift_correction:
            self.drift_correction.aggregate(
                server_round,
                {update.member.node_id: update.correction for update in updates},
                old=self.share(state, state.adapter.factors.rank).adapter.factors,
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
        return arrays, MetricRecord({**found})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each sampled node what it would hold of the new model."""
        state = self.started(arrays)
        present = self._present(grid)
        members = sample(
            [member for member in present if member.held_out],
            self.fraction_evaluate,
            self.min_evaluate_nodes,
            f"{self.seed} evaluate {server_round}",
        )
        self._asked = {
            m.node_id: Asked(m, Share(self.model(state, m.rank))) for m in members
        }
        return [
            Message(_content(a.share, config, server_round), node, MessageType.EVALUATE)
            for node, a in self._asked.items()
        ]

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Mean, worst and spread of what the clients measured on their own data."""
        results, bad = collect(self._asked, replies, read_evaluation, self.timeout)
        self.journal.replies_left_out(server_round, "evaluate", bad)
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
        )

    def started(self, arrays: ArrayRecord | None = None) -> GlobalState:
        """The current global model; made from ``arrays`` where there is none yet."""
        if self._state is None:
            assert arrays is not None, "the strategy has not started"
            initial = AdapterState.from_named_tensors(wire.decode_tensors(arrays))
            self._state = self.begin(initial)
            self.federation.largest_rank = initial.factors.rank
            if self.drift_correction:
                self.drift_correction.begin(initial)
        return self._state

    def _present(self, grid: Grid) -> list[Member]:
        """Members that are connected; each is recorded when it first takes part."""
        try:
            self.federation.wait(grid, self.min_available_nodes, self.timeout)
        except FederationError as error:
            log(WARNING, "%s; going on with those", error)
        present = self.federation.meet(grid, min(self.timeout, _QUERY_SECONDS))
        self.journal.nodes(self.federation)
        return present


def _content(share: Share, config: ConfigRecord, server_round: int) -> RecordDict:
    config = ConfigRecord({**config, wire.ROUND: server_round})
    arrays = wire.encode_tensors(share.named_tensors())
    return RecordDict({wire.ARRAYS: arrays, wire.CONFIG: config})
