"""What goes wrong in the protocol."""

import re

_AT_FAULT = re.compile(r"node (-?\d{1,20}): ")


class SecureError(ValueError):
    """A step that is refused, with what is wrong; it says nothing of any number."""


def at_fault(node: int, what: str) -> SecureError:
    """Refuse what another node has made."""
    return SecureError(f"node {node}: {what}")


def accused(reason: str) -> int | None:
    """Which node a refusal is about, where :func:`at_fault` has made it."""
    found = _AT_FAULT.match(reason)
    return int(found[1]) if found else None
