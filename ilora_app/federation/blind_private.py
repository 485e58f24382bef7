"""A strategy of which the server sees sums that nodes have put noise on."""

from collections.abc import Iterable
from dataclasses import replace
from logging import INFO
from typing import Any

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.supercore import log

from ilora_app import wire
from ilora_app.federation.blind_strategy import BlindStrategy
from ilora_app.federation.rounds import Row, Stop
from ilora_app.federation.snapshot import Snapshot
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.budget import Budget
from ilora_app.privacy.spending import NOISE, RELEASES, Spending


class BlindPrivateStrategy(BlindStrategy):
    """Runs a method over sums with noise, and counts what the server has been shown.

    A round counts when its nodes have been asked for masked numbers, whatever comes of
    it: the first of two sums may have been opened.

    Args:
        arguments: of :class:`BlindStrategy`.
        clip: C, for the log: nodes clip.
        budget: what rounds may cost.

    """

    behind = True

    def __init__(
        self, *arguments: Any, clip: float, budget: Budget, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._clip, self._spending = clip, Spending(budget)

    def resume(self, taken: Snapshot, rows: list[Row]) -> None:
        """Go on counting: rounds without a row of numbers, and one cut off, as well."""
        super().resume(taken, rows)
        self._spending.resume(rows)
        since = 0
        for row in reversed(rows):
            if NOISE in row or not row["round"]:
                break
            since += 1
        if rows:
            self._spending.releases += since + 1

    def summary(self) -> None:
        """Log the settings, and what all rounds cost."""
        super().summary()
        budget, rounds = self._spending.budget, self._num_rounds
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

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Count the round, and make the next model of its sums."""
        if self._session is not None:
            self._spending.releases += 1
        arrays, metrics = super().aggregate_train(server_round, replies)
        if metrics is not None:
            found = self._spending.columns()
            found[RELEASES] = self._spending.releases
            for name, value in found.items():
                metrics[name] = value
        return arrays, metrics
