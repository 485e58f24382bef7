"""How a run-config key is declared, and the checks on its values."""

import os
import re
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any

Check = Callable[[Any], str | None]
"""Returns what would be right, or None where the value is."""


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    check: Check | None = None,
) -> Any:
    """Declare one run-config key."""
    metadata = {"help": help, "choices": choices, "check": check}
    return field(default=default, metadata=metadata)


def at_least(bound: float) -> Check:
    """Accept values from ``bound`` on."""
    return lambda value: None if value >= bound else f"{bound:g} or more"


def above(bound: float) -> Check:
    """Accept values greater than ``bound``."""
    return lambda value: None if value > bound else f"a number above {bound:g}"


def within(low: float, high: float) -> Check:
    """Accept values from ``low`` to ``high``."""
    return lambda v: None if low <= v <= high else f"between {low:g} and {high:g}"


def below_one(value: float) -> str | None:
    """Accept parts of a whole that leave something over."""
    return None if 0 <= value < 1 else "0 or more and below 1"


def part_or_none(value: float) -> str | None:
    """Accept parts of a whole, from nothing to all of it."""
    return None if 0 <= value <= 1 else "from 0 to 1"


def part_of_one(value: float) -> str | None:
    """Accept parts of a whole, up to all of it."""
    return None if 0 < value <= 1 else "above 0, up to 1"


def open_part(value: float) -> str | None:
    """Say what is expected of a part of one that is neither nothing nor all."""
    return None if 0 < value < 1 else "a number between 0 and 1, without them"


def seed_number(value: int) -> str | None:
    """Accept what every library takes as a seed: 32 bits."""
    return None if 0 <= value < 2**32 else "a whole number from 0 to 4294967295"


def number_or_auto(value: str) -> str | None:
    """Accept numbers from 0 on, and ``auto``."""
    try:
        right = value == "auto" or 0 <= float(value) < float("inf")
    except ValueError:
        right = False
    return None if right else "auto, or a number from 0 on, such as 0.1"


def place(value: str) -> str | None:
    """Accept what a folder or a hub can be called, and nothing at all."""
    short = all(len(part.encode("utf-8", "replace")) < 256 for part in value.split("/"))
    if short and len(value) <= 1000 and value.isprintable():
        return None
    return "a name of at most 1000 printable characters, 255 bytes between slashes"


def host(value: str) -> str | None:
    """Accept an address, or what a machine can be called."""
    right = re.fullmatch(r"[0-9A-Za-z.-]{1,253}|[0-9A-Fa-f:.]{2,45}", value)
    return None if right else "an address of this machine, such as 127.0.0.1 or 0.0.0.0"


def not_empty(value: str) -> str | None:
    """Accept any text but none."""
    return None if value.strip() else "a name or a folder"


def some_place(value: str) -> str | None:
    """Accept what :func:`place` does, but not nothing."""
    return not_empty(value) or place(value)


def layer_numbers(value: str) -> str | None:
    """Accept ``all``, or whole numbers with commas between them."""
    right = value == "all" or re.fullmatch(r"-?\d+(,-?\d+)*", value)
    return None if right else "all, or numbers such as 4,5 or -2,-1"


def parse_ranks(value: str) -> tuple[int, ...]:
    """Read ``"2,4,8,16"``.

    Raises:
        ValueError: something in the list is not a positive whole number.

    """
    ranks = tuple(int(part) for part in value.split(","))
    if min(ranks) < 1:
        raise ValueError(value)
    return ranks


def ranks(value: str) -> str | None:
    """Accept a list of ranks."""
    try:
        parse_ranks(value)
    except ValueError:
        return 'positive whole numbers separated by commas, such as "2,4,8,16"'
    return None


def names(value: str) -> tuple[str, ...]:
    """Split a comma-separated list, leaving out blanks."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def columns(value: str) -> str | None:
    """Accept one column name or two, or none to have them found."""
    return None if len(names(value)) <= 2 else "one column, or two with a comma"


_QUALITY = re.compile(
    r"(?:[a-z]+_)*(accuracy|f1|match|spearman|loss|perplexity)(?:_mean|_worst|_r\d+)?"
)


def quality(value: str) -> str | None:
    """Accept columns of metrics.csv that say how good a model is."""
    if _QUALITY.fullmatch(value):
        return None
    return (
        "a column of metrics.csv that says how good a model is, such as accuracy, "
        "loss, spearman, client_accuracy_worst, held_out_accuracy or accuracy_r4"
    )


def lower_is_better(column: str) -> bool:
    """Say whether a column that :func:`quality` accepts is better the lower it is."""
    found = _QUALITY.fullmatch(column)
    return found is not None and found[1] in ("loss", "perplexity")


def folder(value: str | Path) -> Path:
    """Read a folder's name, with ``$VARIABLE`` and ``~`` filled in.

    What is not known stays as it is: ``$UNSET``, and ``~nobody``, where pathlib would
    raise.
    """
    return Path(os.path.expanduser(os.path.expandvars(value)))  # noqa: PTH111
