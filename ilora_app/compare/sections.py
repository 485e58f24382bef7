"""Rows that are held against each other, and the numbers of each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ilora_app.compare.finished import QUALITIES, Run, Spread
from ilora_app.compare.results import (
    BOUND,
    METHOD,
    PERSONAL,
    Summary,
    kind_of,
    leaders,
    target_of,
)
from ilora_app.runs.worth import BASELINES
from ilora_app.settings import Settings, parsing
from ilora_app.settings.parsing import count

Value = Callable[[Run], float | None]


@dataclass(frozen=True)
class Column:
    """A number of a run, shown as mean and deviation over the seeds."""

    key: str
    head: str
    value: Value
    form: str = ".3f"
    deviation: bool = True


@dataclass(frozen=True)
class Section:
    """Rows that are held against each other: those of one preset.

    Args:
        name: the preset's.
        summaries: of all rows.
        target: accuracy for the rounds and megabytes to it.

    """

    name: str
    summaries: tuple[Summary, ...]
    target: float | None

    @classmethod
    def of(cls, name: str, summaries: Sequence[Summary], target: str) -> "Section":
        """Make a section with a target by name or ``auto``."""
        return cls(name, tuple(summaries), target_of(summaries, target))

    @property
    def title(self) -> str:
        """What is compared: preset, model, data, clients and seeds."""
        if not self.summaries:
            return self.name
        entry = self.summaries[0].entry
        config = parsing.dump(Settings()) | dict(entry.config)
        model, data = (
            str(config[key]).rstrip("/").split("/")[-1] for key in ("model", "dataset")
        )
        seeds = len({run.seed for s in self.summaries for run in s.runs})
        over = f"{count(entry.clients, 'client')}, {count(seeds, 'seed')}"
        return f"{self.name}: {model} on {data}, {over}"

    @property
    def quality(self) -> str:
        """Column of how good the models are."""
        found = [run.quality for s in self.summaries for run in s.runs]
        return found[0] if found else next(iter(QUALITIES))

    @property
    def measure(self) -> str:
        """What people read of it."""
        return QUALITIES[self.quality]

    @property
    def methods(self) -> list[Summary]:
        """Rows with results, the best final accuracy of those with all seeds first."""
        return self._of(METHOD)

    @property
    def personal(self) -> list[Summary]:
        """The same for the rows that end with personal models."""
        return self._of(PERSONAL)

    @property
    def bounds(self) -> list[Summary]:
        """The same for the rows that bound the others."""
        return self._of(BOUND)

    @property
    def groups(self) -> list[tuple[str, list[Summary]]]:
        """Rows with results by kind; a kind without any is left out."""
        kinds = [
            ("methods", self.methods),
            ("personal models", self.personal),
            ("bounds", self.bounds),
        ]
        return [(name, summaries) for name, summaries in kinds if summaries]

    @property
    def shown(self) -> list[Summary]:
        """All rows with results."""
        return [summary for _, summaries in self.groups for summary in summaries]

    @property
    def baselines(self) -> list[tuple[str, Spread]]:
        """What needs no federation and no rounds, from what the runs recorded."""
        runs = {run.seed: run for s in self.shown for run in s.runs}.values()
        found = [
            (name, Spread.of(run.baselines.get(key) for run in runs))
            for key, name in BASELINES
        ]
        return [(name, spread) for name, spread in found if spread]

    @property
    def empty(self) -> list[Summary]:
        """Rows of which no run has finished."""
        return [s for s in self.summaries if not s.runs]

    @property
    def columns(self) -> list[Column]:
        """Numbers of a row, in order."""
        ranks = sorted(
            {
                int(name.removeprefix("accuracy_r"))
                for summary in self.summaries
                for run in summary.runs
                for row in run.rounds
                for name in row
                if name.startswith("accuracy_r")
            }
        )
        return [
            Column(f"final_{self.quality}", "final", lambda run: run.score),
            Column(f"best_{self.quality}", "best", lambda run: run.best),
            Column(
                "worst_client",
                "worst client",
                lambda run: run.last("client_accuracy_worst"),
            ),
            *(
                Column(f"accuracy_r{rank}", f"rank {rank}", _at_rank(rank))
                for rank in ranks
            ),
            Column("rounds_to_target", "rounds to", self.rounds_to, ".1f", False),
            Column("mb_to_target", "MB to", self.megabytes_to, ".1f", False),
            Column("mb_up", "MB up", _mega("bytes_up"), ".2f", False),
            Column("mb_down", "MB down", _mega("bytes_down"), ".2f", False),
            Column(
                "seconds_server",
                "s server",
                lambda run: run.mean("seconds_aggregate"),
                ".2f",
                False,
            ),
            Column(
                "seconds_client",
                "s client",
                lambda run: run.mean("seconds_client_mean"),
                ".2f",
                False,
            ),
        ]

    def rounds_to(self, run: Run) -> float | None:
        """Rounds to the target."""
        return None if self.target is None else run.reaches(self.target)

    def megabytes_to(self, run: Run) -> float | None:
        """Megabytes to the target."""
        number = None if self.target is None else run.reaches(self.target)
        return None if number is None else dict(run.megabytes())[number]

    def _of(self, kind: str) -> list[Summary]:
        return _sorted(s for s in self.summaries if s.runs and kind_of(s) == kind)


def measure_of(sections: Sequence[Section]) -> str:
    """What people read of how good the models of all sections are."""
    return sections[0].measure if sections else next(iter(QUALITIES.values()))


def _sorted(summaries: Iterable[Summary]) -> list[Summary]:
    """The best first; rows that lack seeds which others have come after those."""
    rows = list(summaries)
    whole = {summary.name for summary in leaders(rows)}

    def rank(summary: Summary) -> tuple[bool, float]:
        mean = summary.final.mean if summary.final else -1.0
        return summary.name in whole, mean

    return sorted(rows, key=rank, reverse=True)


def _at_rank(rank: int) -> Value:
    return lambda run: run.last(f"accuracy_r{rank}")


def _mega(column: str) -> Value:
    def value(run: Run) -> float | None:
        found = run.mean(column)
        return None if found is None else found / 1e6

    return value
