"""A strategy whose nodes hide their single rows, and say what that has cost them."""

from collections.abc import Iterable
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.rounds import Row
from ilora_app.federation.snapshot import Snapshot
from ilora_app.federation.strategy import LoraStrategy
from ilora_app.settings import PrivacySettings

EPSILON = "epsilon"
_MOST = 1e9


class RecordStrategy(LoraStrategy):
    """Runs a method over nodes that clip and noise the gradients of their rows.

    Nothing of it is done here: a server that adds noise has seen what is without.

    Args:
        arguments: of :class:`LoraStrategy`.
        privacy: the settings, for the log.

    """

    def __init__(self, *arguments: Any, privacy: PrivacySettings, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._privacy, self._worst = privacy, 0.0

    def resume(self, taken: Snapshot, rows: list[Row]) -> None:
        """Go on from the most that any node had spent."""
        super().resume(taken, rows)
        self._worst = max([0.0, *(row[EPSILON] for row in rows if EPSILON in row)])

    def summary(self) -> None:
        """Log the settings; what noise they mean each node says in its own log."""
        super().summary()
        chosen = self._privacy
        z, most = chosen.dp_noise_multiplier, chosen.dp_target_epsilon
        of = f"of noise {z:g}" if z else f"within epsilon {most:g}"
        text = "Private by row: clip %g, each node's rows %s at %g"
        log(INFO, text, chosen.dp_clip, of, chosen.dp_delta)
        how = chosen.dp_clip, chosen.dp_delta, most, self.num_rounds
        self.events.private(z, *how)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As any strategy; nodes are told which of their replies was used last."""
        sent = list(super().configure_train(server_round, arrays, config, grid))
        for message in sent:
            used = self.model.versions.last_used(message.metadata.dst_node_id)
            message.content.config_records[wire.CONFIG][wire.TRAINED_IN] = used
        return sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """As any strategy, with what it has cost the node that has spent most."""
        there = list(replies)
        for reply in there:
            self._worst = max(self._worst, _spent(reply))
        arrays, metrics = super().aggregate_train(server_round, there)
        if metrics is not None:
            del metrics["train_loss"]  # nodes do not say theirs
            metrics[EPSILON] = self._worst
        return arrays, metrics


def _spent(reply: Message) -> float:
    """What a node says that it has spent; 0 of one that says nothing of use."""
    if not reply.has_content():
        return 0.0
    metrics = reply.content.metric_records.get(wire.METRICS)
    try:
        return float(wire.number(metrics, wire.EPSILON, least=0, most=_MOST))
    except wire.WireError:
        return 0.0
