"""A strategy of which the server sees sums that nodes have put noise on."""

from collections.abc import Iterable
from dataclasses import replace
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.blind_strategy import BlindStrategy
from ilora_app.federation.rounds import Row, Stop
from ilora_app.federation.snapshot import Snapshot
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.spending import Spending


class BlindPrivateStrategy(BlindStrategy):
    """Runs a method over sums with noise, and counts what the server has been shown.

    A round counts when its nodes have been asked for masked numbers, whatever comes of
    it: the first of two sums may have been opened.

    Args:
        arguments: of :class:`BlindStrategy`.
        clip: C, for the log: nodes clip.
        spending: counts what rounds cost.

    """

    behind = True

    def __init__(
        self, *arguments: Any, clip: float, spending: Spending, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._clip, self._spending = clip, spending

    def resume(self, taken: Snapshot, rows: list[Row]) -> None:
        """Go on counting."""
        super().resume(taken, rows)
        self._spending.resume(rows)

    def summary(self) -> None:
        """Log the settings, and what all rounds cost."""
        super().summary()
        budget, rounds = self._spending.budget, self.num_rounds
        z, delta, whole = budget.multiplier, budget.delta, budget.spent(rounds)
        text = "Private by node, noise by nodes: at least %.4g x clip %g, epsilon %.3g "
        log(INFO, text + "in %d rounds at %g", z, self._clip, whole, rounds, delta)
        self.events.private(z, self._clip, delta, whole, rounds)

    def until(self, stop: Stop | None) -> Stop:
        """End before a round that would exceed the budget."""
        return self._spending.ends(stop)

    def sketch(self, server_round: int) -> Sketch:
        """As any blind strategy, but of fewer numbers where all get noise."""
        found = super().sketch(server_round)
        return replace(found, sums=self.method.noisy_sums(self.state))

    def more_facts(self) -> dict[str, Any]:
        """The noise that is accounted for, for nodes: theirs is no less."""
        return {wire.NOISE: self._spending.budget.multiplier}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """As any blind strategy; what is asked for counts, whatever comes of it."""
        sent = list(super().configure_train(server_round, arrays, config, grid))
        if sent:
            self._spending.release()
        return sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Make the next model of a round's sums, and say what it has cost."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if metrics is not None:
            for name, value in self._spending.columns().items():
                metrics[name] = value
        return arrays, metrics
