"""Rows x presets x rates x seeds: which runs there are, and in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from ilora_app import methods
from ilora_app.compare.jobs import FINISHED, Job
from ilora_app.compare.presets import METHOD, Preset
from ilora_app.compare.rows import Config, Row, own_keys
from ilora_app.federation import validity
from ilora_app.settings import Settings, parsing

CLIENTS = 8
PROBE = "linear-probe"


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


def make_entries(
    presets: Sequence[Preset],
    rows: Sequence[Row],
    settings: Config,
    clients: int | None = None,
    probe: bool = False,
) -> tuple[list[Entry], list[str], list[str]]:
    """Put rows under presets.

    Args:
        presets: each with its settings.
        rows: for the presets that fix no strategy.
        settings: for all runs, over the preset's.
        clients: for all runs, over the preset's.
        probe: put the linear probe under every preset where it can be had.

    Returns:
        The entries, every mistake, and what was left out because it cannot be had.

    """
    entries: list[Entry] = []
    problems: list[str] = []
    left_out: list[str] = []
    for preset in presets:
        own = [Row(preset.name, (("strategy", preset.strategy),))]
        known: set[str] = set()
        for row in own if preset.strategy else rows:
            changes = dict(row.changes)
            if changes["strategy"] == PROBE:  # it is what it is before round 1
                changes = {"num-server-rounds": 1, **changes}
            whole = _usable(dict(preset.settings), settings | changes)
            number = clients or preset.clients or CLIENTS
            wrong = _problems(whole, number)
            if wrong:
                where = left_out if row.optional else problems
                where += [f"{row.name} ({preset.name}): {text}" for text in wrong]
                continue
            if repr(sorted(whole.items())) in known:
                continue
            known.add(repr(sorted(whole.items())))
            entries.append(Entry(preset, row, number, whole))
        here = [e for e in entries if e.preset.section == preset.section]
        if probe and here and all(e.config["strategy"] != PROBE for e in here):
            entries += _probe(preset, here[0])
    return entries, problems, left_out


def _usable(preset: Config, changes: Config) -> Config:
    """A row under a preset, without those of its keys that the row's method lacks.

    What a preset says of the method is meant for the one it is named after; other rows
    are held against it on the same data.
    """
    whole = own_keys(preset) | changes
    parsed, wrong = methods.parse(whole)
    if wrong:
        return whole
    found = validity.problems(parsed)
    unused = [k for k, text in found.items() if "is not used" in text and k in METHOD]
    return {k: v for k, v in whole.items() if k not in unused or k in changes}


def _probe(preset: Preset, beside: Entry) -> list[Entry]:
    """The linear probe on the data of another row; none where there are no classes."""
    declared = methods.find(str(beside.config["strategy"])).settings
    own = {parsing.key_of(entry.name) for entry in fields(declared)}
    out = own | {*METHOD, "max-correction-norm"}
    other = {k: v for k, v in beside.config.items() if k not in out}
    changes: Config = {"strategy": PROBE, "num-server-rounds": 1}
    whole = {k: v for k, v in other.items() if not k.startswith("head")} | changes
    if _problems(whole, beside.clients):
        return []
    row = Row(PROBE, tuple(changes.items()))
    return [Entry(preset, row, beside.clients, whole)]


def _problems(settings: Config, clients: int) -> list[str]:
    """Mistakes of one entry's config as a whole."""
    parsed, wrong = methods.parse(settings)
    if wrong:
        return list(wrong.values())
    right = f"at most {clients}, the number of clients"
    found = [
        parsing.describe(key, value, right)
        for key, value in parsing.dump(parsed).items()
        if key.startswith("min-") and key.endswith("-nodes") and value > clients
    ]
    return found + list(validity.problems(parsed).values())
