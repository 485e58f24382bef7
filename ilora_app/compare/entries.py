"""Rows under presets: the run config of each, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import fields

from ilora_app import methods
from ilora_app.compare.plan import Entry
from ilora_app.compare.presets import METHOD, Preset
from ilora_app.compare.rows import Config, Row, own_keys
from ilora_app.federation import validity
from ilora_app.settings import parsing

CLIENTS = 8
PROBE = "linear-probe"


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
