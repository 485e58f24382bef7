"""Everything that ``ilora check`` finds, step by step, as plain values."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ilora_app.check.look import Look, fitting, positions
from ilora_app.check.settle import Settled, Suggestion, changed, settle
from ilora_app.settings import Settings
from ilora_app.settings.kinds import kind
from ilora_app.tasks.sources import DataError


@dataclass
class Report:
    """What is known so far; :func:`steps` fills it.

    Attributes:
        settings: that the rest was found with.
        columns: what each holds.
        read: the columns that the task reads, by key.
        splits: name -> rows, classes and what is wrong with them.
        lengths: of the texts.
        scores: of what needs no federation.
        deal: what each client would get.
        notes: worth to know.
        suggestions: keys to add.
        problems: what would end the run.
        command: that runs it.

    """

    settings: Settings
    columns: dict[str, str] = field(default_factory=dict)
    read: dict[str, str] = field(default_factory=dict)
    splits: dict[str, Any] = field(default_factory=dict)
    lengths: Any = None
    scores: list[Any] = field(default_factory=list)
    deal: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    suggestions: list[Suggestion] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    command: str = ""

    def plain(self) -> dict[str, Any]:
        """All of it for JSON, without the settings."""
        kept = {k: v for k, v in vars(self).items() if k != "settings"}
        kept["splits"] = {name: asdict(one) for name, one in self.splits.items()}
        kept["lengths"] = asdict(self.lengths) if self.lengths else None
        for key in ("scores", "deal", "suggestions"):
            kept[key] = [asdict(one) for one in kept[key]]
        return kept


def steps(
    settings: Settings,
    given: Mapping[str, object],
    clients: int,
    words: list[str],
    probe: bool = True,
) -> Iterator[tuple[str, Report]]:
    """Look at the data, and say after each step what was found by then.

    Args:
        settings: as asked for.
        given: the keys that were asked for.
        clients: that the rows are dealt out to.
        words: of the command that runs it, before the keys that are suggested.
        probe: whether to fit models.

    """
    settled = settle(settings, frozenset(given))
    found = Report(settled.settings, suggestions=list(settled.suggestions))
    found.problems = list(settled.problems)
    if not found.problems:
        yield from _seen(found, settled, clients, probe)
    found.command = command(words, clients, found.suggestions)
    yield "end", found


def _seen(
    found: Report, settled: Settled, clients: int, probe: bool
) -> Iterator[tuple[str, Report]]:
    look, settings = Look(settled), settled.settings
    found.columns, found.splits = look.columns, look.splits
    keys = (
        "text_columns",
        "label_column",
        "image_column",
        "audio_column",
        "answer_column",
    )
    named = {key.replace("_", "-"): getattr(settings.data, key) for key in keys}
    found.read = {key: value for key, value in named.items() if value}
    if kind(settings.model.task).writes:
        found.read.pop("label-column", None)
    found.problems, found.notes = look.problems, look.notes
    yield "data", found
    found.lengths = look.lengths()
    reads = kind(settings.model.task).tokens
    longest = positions(settings.model.model) if reads else 0
    if more := fitting(found.lengths, settings.data.max_length, longest):
        found.suggestions.append(more)
    yield "lengths", found
    if found.problems or not settings.data.train_split:
        return
    try:
        found.deal = look.deal(clients)
    except DataError as error:
        found.notes.append(str(error))
        if easier := look.easier(clients):
            found.suggestions.append(easier)
            again = changed(settings, easier.key, easier.value)
            found.deal = Look(Settled(again, again, (), ())).deal(clients)
        else:
            found.problems.append(str(error))
    yield "deal", found
    if probe and kind(settings.model.task).one_class:
        from ilora_app.check import probe as probes  # loads the libraries of models

        found.scores.append(probes.majority(found.splits[settings.data.test_split]))
        for score in (probes.texts, probes.frozen):
            if one := score(settings):
                found.scores.append(one)
        yield "scores", found


def command(words: list[str], clients: int, suggestions: list[Suggestion]) -> str:
    """Write the command that runs what was looked at."""
    pairs = [f"{one.key}={one.text}" for one in suggestions]
    whole = ["ilora", "run", *words, "--clients", str(clients)]
    return shlex.join([*whole, *(w for pair in pairs for w in ("--set", pair))])
