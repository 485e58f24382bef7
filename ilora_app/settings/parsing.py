"""Run config -> settings. Every mistake is found, and all are reported at once."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields, replace
from typing import Any

from ilora_app.settings import MethodSettings, Settings
from ilora_app.settings.elsewhere import HINTS
from ilora_app.settings.mistake import MistakeError

_MOST_SHOWN = 200


class ConfigError(MistakeError):
    """One message that lists every mistake of a run config."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = "".join(f"\n  - {problem}" for problem in problems)
        many = f"the run config has {count(len(problems), 'mistake')}"
        named = {problem.partition(" = ")[0] for problem in problems}
        keys = [key for _, key, _ in options() if key in named]
        named_keys = ", ".join(keys) or "unknown keys"
        super().__init__(f"{many}:{lines}", f"{many} for it: {named_keys}")

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        """Cross to another process whole: an exception is made again from its args."""
        return type(self), (self.problems,)


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 mistake``, ``2 mistakes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def key_of(name: str) -> str:
    """Run-config key of a settings field."""
    return name.replace("_", "-")


def describe(key: str, value: object, right: str) -> str:
    """Write a problem the way all of them read: key, value, what would be right."""
    return f"{key} = {shown(value)}: expected {right}"


def shown(value: object) -> str:
    """Write a value as TOML has it, in a line of bounded length, whatever it is."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, and nests
        return f"a value that is too large to write ({type(value).__name__})"
    more = f"... ({len(text)} characters)"
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + more


def options(settings: Settings | None = None) -> Iterator[tuple[str, str, Field[Any]]]:
    """(group, key, field) of every run-config key, in the order of the settings."""
    for group, values in vars(settings or Settings()).items():
        for entry in fields(values):
            yield group, key_of(entry.name), entry


def parse(
    config: Mapping[str, object], method: type[MethodSettings] = MethodSettings
) -> tuple[Settings, dict[str, str]]:
    """Read a run config.

    Args:
        config: values by key.
        method: declares the keys of the method.

    Returns:
        The settings, with the default in place of each wrong value, and the problems
        by key, so that further checks can skip those keys and report all together.

    """
    problems: dict[str, str] = {}
    values: dict[str, dict[str, Any]] = {}
    defaults = replace(Settings(), method=method())
    entries = list(options(defaults))
    known = {key for _, key, _ in entries}
    for key, value in config.items():
        if key not in known:
            hint = _hint(key, known)
            name = key if key.isprintable() and len(key) < _MOST_SHOWN else shown(key)
            problems[key] = f"{name} = {shown(value)}: there is no such key; {hint}"
    for group, key, entry in entries:
        if key not in config:
            continue
        try:
            value = _typed(config[key], type(entry.default))
        except TypeError as error:
            problems[key] = describe(key, config[key], str(error))
            continue
        right = _what_would_be_right(value, entry)
        if right is None:
            values.setdefault(group, {})[entry.name] = value
        else:
            problems[key] = describe(key, config[key], right)
    groups = {
        name: replace(getattr(defaults, name), **given)
        for name, given in values.items()
    }
    return replace(defaults, **groups), problems


def _hint(key: str, known: set[str]) -> str:
    """Say what a key may have meant."""
    if found := HINTS.get(key.replace("_", "-")):
        return found
    meant = near(key, known).removeprefix("; ")
    return meant or "docs/settings.md has them all"


def near(value: str, known: Iterable[str]) -> str:
    """Say which of some words one may have meant, to end a sentence with."""
    close = difflib.get_close_matches(value[:_MOST_SHOWN], known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def load(config: Mapping[str, object]) -> Settings:
    """Read a run config that must be right.

    Raises:
        ConfigError: with every mistake in it.

    """
    settings, problems = parse(config)
    if problems:
        raise ConfigError(list(problems.values()))
    return settings


def value_of(key: str, text: str) -> object:
    """Read the value of ``KEY=VALUE``: TOML where it is that, else text.

    It is text also where the key wants text and no quotes are there.
    """
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or more of it than can be read
        return text
    wanted = dump(Settings()).get(key)
    if isinstance(value, str) or not isinstance(wanted, str):
        return value if isinstance(value, bool | int | float | str) else text
    return text


def dump(settings: Settings) -> dict[str, Any]:
    """Write settings as the run config that gives them: the inverse of :func:`load`."""
    return {
        key: getattr(getattr(settings, group), entry.name)
        for group, key, entry in options(settings)
    }


def _typed(value: object, wanted: type) -> Any:
    """Accept the wanted type, and a whole number where any number is wanted."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise TypeError("a finite number") from None
    if type(value) is int is wanted and not -(2**63) <= value < 2**63:
        raise TypeError("a whole number of at most 64 bits")
    if type(value) is not wanted:
        kinds = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "text in quotes",
        }
        raise TypeError(kinds.get(wanted, wanted.__name__))
    return value


def _what_would_be_right(value: Any, entry: Field[Any]) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    choices = entry.metadata["choices"]
    if choices and value not in choices:
        return f"one of {', '.join(choices)}{near(str(value), choices)}"
    check = entry.metadata["check"]
    return check(value) if check else None
