"""What a run has spent of its budget so far, with the columns that say so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ilora_app.privacy.budget import Budget

EPSILON, NOISE, RELEASES = "epsilon", "noise_multiplier", "releases"

Rows = Sequence[Mapping[str, Any]]


class Count(Protocol):
    """Keeps how much has been released, whatever is cut off."""

    def known(self) -> int | None:
        """What was kept last; None where nothing was."""

    def keep(self, count: int) -> None:
        """Keep it; what it counts leaves after that."""


class Spending:
    """Counts what has been released.

    Args:
        budget: of the run.
        count: keeps it; None: rows of rounds do.

    """

    def __init__(self, budget: Budget, count: Count | None = None) -> None:
        self.budget, self.releases, self._count = budget, 0, count

    def resume(self, rows: Rows) -> None:
        """Go on counting; the noise stays what it was.

        More rounds than it was made for would ask for more noise in those behind as
        well, which cannot be had any more. Where nothing was kept but rows, every round
        since the last that tells counts, and one that was cut off.
        """
        told = [i for i, row in enumerate(rows) if NOISE in row]
        by_rows = 0
        if told:
            last = rows[told[-1]]
            by_rows = int(last.get(RELEASES, len(told)))
            self.budget = replace(self.budget, multiplier=last[NOISE])
        kept = self._count.known() if self._count else None
        if kept is None:
            since = rows[told[-1] + 1 :] if told else rows
            kept = by_rows + sum(bool(row["round"]) for row in since) + bool(rows)
        self.releases = max(kept, by_rows)

    def release(self) -> None:
        """Count one, before it leaves."""
        self.releases += 1
        if self._count:
            self._count.keep(self.releases)

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
        return {
            EPSILON: epsilon,
            NOISE: self.budget.multiplier,
            RELEASES: self.releases,
        }
