"""What a run has spent of its budget so far, with the columns that say so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ilora_app.privacy.budget import Budget

EPSILON, NOISE, RELEASES = "epsilon", "noise_multiplier", "releases"

Rows = Sequence[Mapping[str, Any]]


class Spending:
    """Counts what has been released.

    Args:
        budget: of the run.

    """

    def __init__(self, budget: Budget) -> None:
        self.budget, self.releases = budget, 0

    def resume(self, rows: Rows) -> None:
        """Go on counting; the noise stays what it was.

        More rounds than it was made for would ask for more noise in those behind as
        well, which cannot be had any more.
        """
        before = [row for row in rows if NOISE in row]
        if before:
            self.releases = int(before[-1].get(RELEASES, len(before)))
            self.budget = replace(self.budget, multiplier=before[-1][NOISE])

    def ends(self, stop: Callable[[Any], str] | None) -> Callable[[Any], str]:
        """What ends a run before a round that would exceed the budget.

        Args:
            stop: what else ends it.

        """

        def reason(rows: Any) -> str:
            if not self.budget.lasts(self.releases + 1):
                return f"another round would exceed epsilon {self.budget.epsilon:g}"
            return stop(rows) if stop else ""

        return reason

    def columns(self) -> dict[str, float]:
        """Of a round, its own release included."""
        epsilon = self.budget.spent(self.releases)
        return {EPSILON: epsilon, NOISE: self.budget.multiplier}
