"""``--strategies`` and ``--set``: from their text to the rows of a comparison."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ilora_app.compare import run_config
from ilora_app.launch.config_files import PLACES, absolute
from ilora_app.settings import parsing
from ilora_app.settings.strategies import NAMES

ALL = "all"
Config = dict[str, object]

# What a comparison gives every run by itself: key -> how to say it instead.
_OWN = {
    "strategy": "--strategies",
    "seed": "--seeds",
    "learning-rate": "--lr",
    "output-dir": "--out",
    "resume": "the same command again",
}


@dataclass(frozen=True)
class Row:
    """One method of a comparison: a strategy with settings of its own.

    Args:
        name: as it was asked for.
        changes: what it sets, the strategy included.
        optional: left out, and not a mistake, where its settings cannot be had.

    """

    name: str
    changes: tuple[tuple[str, object], ...]
    optional: bool = False

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return re.sub(r"[^A-Za-z0-9._+=-]", "_", self.name)


def parse_rows(text: str) -> tuple[list[Row], list[str]]:
    """Read ``NAME[+KEY=VALUE]...[,...]``, where ``all`` stands for every strategy.

    A value with a comma or a plus goes into quotes:
    ``ilora+client-ranks="2,4"``.

    Returns:
        The rows, equal ones merged, and every mistake.

    """
    rows: list[Row] = []
    problems: list[str] = []
    for item in _split(text, ","):
        name, *pairs = _split(item, "+")
        strategy = {} if name == ALL else {"strategy": name}
        settings, wrong = parse_pairs(pairs, f"--strategies {item}", strategy)
        problems += wrong
        names = list(NAMES) if name == ALL else [name]
        if name != ALL and (right := run_config.unknown(name)):
            problems.append(f"--strategies {name}: expected {ALL}, or {right}")
            continue
        for one in names:
            changes: Config = {"strategy": one, **settings}
            full = "+".join([one, *pairs])
            rows.append(Row(full, tuple(changes.items()), name == ALL))
    if not rows and not problems:
        right = f"{ALL}, or names with commas between them: {', '.join(NAMES)}"
        problems.append(f"--strategies {text!r}: expected {right}")
    merged: dict[str, Row] = {}
    for row in rows:
        key = repr(sorted(row.changes))
        if key not in merged or merged[key].optional:
            merged[key] = row if key not in merged else _asked_for(merged[key], row)
    shared: dict[str, list[str]] = {}
    for row in merged.values():
        shared.setdefault(row.slug, []).append(row.name)
    problems += [
        f"--strategies: {' and '.join(names)} would have one folder, {slug}: "
        "expected names that differ in letters or digits"
        for slug, names in shared.items()
        if len(names) > 1
    ]
    return list(merged.values()), list(dict.fromkeys(problems))


def placed(pair: str) -> str:
    """A setting KEY=VALUE whose folder or file means the same from everywhere."""
    key, _, text = pair.partition("=")
    found = _value(key, text)
    return pair if found == parsing.value_of(key, text) else f"{key}={found}"


def parse_pairs(
    pairs: list[str], where: str, beside: Mapping[str, object] | None = None
) -> tuple[Config, list[str]]:
    """Read settings ``KEY=VALUE`` and check names, types and ranges.

    Args:
        pairs: as given.
        where: for the mistakes.
        beside: the strategy, which may declare keys of its own.

    Returns:
        The settings, and every mistake, each with ``where`` it is.

    """
    found: Config = {}
    problems = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            problems.append(f"{where}: {pair!r}: expected KEY=VALUE")
        elif key in _OWN:
            problems.append(f"{where}: {key} is not set here: use {_OWN[key]}")
        else:
            found[key] = _value(key, text)
    _, wrong = run_config.parse({**(beside or {}), **found})
    wrong.pop("strategy", None)
    problems += [f"{where}: {problem}" for problem in wrong.values()]
    return found, problems


def _value(key: str, text: str) -> object:
    """What a setting is, with the whole path of a folder or file that is here."""
    value = parsing.value_of(key, text)
    if key in PLACES and isinstance(value, str):
        return absolute(key, value)
    return value


def own_keys(settings: Mapping[str, object]) -> Config:
    """Leave out what a comparison gives every run by itself."""
    return {key: value for key, value in settings.items() if key not in _OWN}


def _split(text: str, mark: str) -> list[str]:
    """Split at a mark outside of quotes, leaving out blanks."""
    parts = re.findall(rf"""(?:[^{mark}"']|"[^"]*"|'[^']*'|["'])+""", text)
    return [part.strip() for part in parts if part.strip()]


def _asked_for(old: Row, new: Row) -> Row:
    return old if new.optional else new
