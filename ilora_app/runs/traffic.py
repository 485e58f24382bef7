"""Which columns of metrics.csv are bytes that were sent, and for what."""

from collections.abc import Mapping
from typing import Any

PURPOSES = {
    "training": "",
    "evaluation": "_evaluate",
    "solving the head": "_head",
    "secure aggregation": "_secure",
}
"""What messages are for -> suffix of their columns."""

DOWN, UP = "down", "up"


def columns(way: str) -> list[str]:
    """Columns of one way: down to the clients, or up from them."""
    return [f"bytes_{way}{suffix}" for suffix in PURPOSES.values()]


def sent(row: Mapping[str, Any]) -> tuple[float, float]:
    """Bytes down and up in a round, for all purposes together."""
    down, up = (sum(float(row.get(c, 0)) for c in columns(w)) for w in (DOWN, UP))
    return down, up
