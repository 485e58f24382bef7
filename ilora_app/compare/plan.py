"""Rows x presets x rates x seeds: which runs there are, and in which order."""

from dataclasses import dataclass, field
from pathlib import Path

from ilora_app import methods
from ilora_app.compare.jobs import FINISHED, Job
from ilora_app.compare.presets import Preset
from ilora_app.compare.rows import Config, Row
from ilora_app.settings import Settings, parsing


@dataclass(frozen=True)
class Entry:
    """A row under a preset, with the run config that they make."""

    preset: Preset
    row: Row
    clients: int
    config: Config = field(compare=False)


@dataclass(frozen=True)
class Plan:
    """What a comparison runs.

    Args:
        out: its folder.
        entries: rows under presets, preset by preset.
        rates: the grid of learning rates.
        seeds: of every row.
        select: how many of the seeds choose the rate.
        rates_from: preset under which the rate of a row is chosen for all presets.
        near: start with the three rates in the middle of the grid, and go on only
            while the neighbours of a row's best rate have not been tried.
        finalists: so many of a row's best rates are run with all seeds, and the best
            by its mean over them is chosen.

    """

    out: Path
    entries: tuple[Entry, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    select: int = 1
    rates_from: str | None = None
    near: bool = False
    finalists: int = 1

    @property
    def presets(self) -> list[Preset]:
        """In the order in which they are run: the one that rates come from first."""
        presets = list(dict.fromkeys(entry.preset for entry in self.entries))
        return sorted(presets, key=lambda preset: preset.name != self.rates_from)

    def under(self, preset: Preset) -> list[Entry]:
        """Rows under one preset."""
        return [entry for entry in self.entries if entry.preset == preset]

    def job(self, entry: Entry, rate: float, seed: int) -> Job:
        """One run."""
        place = self.out / "runs" / entry.preset.name / entry.row.slug
        folder = place / f"lr-{rate:g}" / f"seed-{seed}"
        return Job(
            entry.preset.name,
            entry.row.name,
            rate,
            seed,
            entry.clients,
            folder,
            {
                **parsing.dump(Settings()),
                # A run that was interrupted is run again: nothing has to be kept.
                "keep-checkpoints": 0,
                **entry.config,
                "learning-rate": rate,
                "seed": seed,
                "output-dir": str(folder),
            },
        )

    def grid(self, entry: Entry) -> tuple[float, ...]:
        """Rates that a row is tried with: one where nothing trains."""
        trains = methods.find(str(entry.config["strategy"])).trains
        return self.rates if trains else self.rates[:1]

    def rates_of(self, entry: Entry) -> tuple[float, ...]:
        """Rates with which the choice of the row's starts under this very preset."""
        if self.rate_source(entry) is not entry:
            return ()
        rates = self.grid(entry)
        if not self.near:
            return rates
        middle = len(rates) // 2
        return tuple(sorted(rates)[max(middle - 1, 0) : middle + 2])

    def neighbours(self, entry: Entry, rate: float) -> tuple[float, ...]:
        """Rates of a row's grid right below and above one of them."""
        rates = sorted(self.grid(entry))
        i = rates.index(rate)
        return tuple(rates[max(i - 1, 0) : i] + rates[i + 1 : i + 2])

    def rate_source(self, entry: Entry) -> Entry:
        """The entry whose choice of a rate this one uses: another, or itself."""
        if self.rates_from:
            for other in self.entries:
                if other.preset.name == self.rates_from and other.row == entry.row:
                    return other
        return entry

    def choosing(self, preset: Preset) -> list[Job]:
        """Runs that choose the rates under a preset, seed by seed."""
        return [
            self.job(entry, rate, seed)
            for seed in self.seeds[: self.select]
            for entry in self.under(preset)
            for rate in self.rates_of(entry)
            if len(self.grid(entry)) > 1
        ]

    def chosen(self, entry: Entry, rate: float) -> list[Job]:
        """All runs of a row at one rate."""
        return [self.job(entry, rate, seed) for seed in self.seeds]

    def tries(self, entry: Entry) -> int:
        """How many runs choose the row's rate."""
        rates = len(self.rates_of(entry))
        return rates * len(self.seeds[: self.select]) if rates > 1 else 0

    def size(self, entry: Entry, tried: int = 0) -> int:
        """How many runs a row takes in all.

        Args:
            entry: of the row.
            tried: runs with the selecting seeds so far: a search may go beyond the
                rates that it starts with.

        """
        tries = self.tries(entry)
        if not tries:
            return len(self.seeds)
        rates = min(self.finalists, len(self.rates_of(entry)))
        return max(tries, tried) + rates * len(self.seeds[self.select :])

    def conflicts(self) -> list[str]:
        """Finished runs in the folder that were run with another config."""
        found: dict[str, int] = {}
        for entry in self.entries:
            for rate in self.grid(entry):
                for job in self.chosen(entry, rate):
                    record = job.record()
                    if record and record.status == FINISHED:
                        for key in job.differences(record):
                            found[key] = found.get(key, 0) + 1
        return [f"{key} in {parsing.count(n, 'run')}" for key, n in found.items()]
