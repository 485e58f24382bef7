"""Who a node is: the key that it is registered with, and not what it says.

Flower's SuperLink accepts a request of a SuperNode only if it is signed with the key
that its node id was registered with, and names that key to a ServerApp. A registered
key stays for good; one that a SuperNode without authentication made up is new each time
it starts, and in a simulation there is none.
"""

import hashlib

from flwr.serverapp import Grid

KEY = "key-"
"""How the names begin that are made of keys; what a node calls itself never does."""

_PEM = b"-----BEGIN PUBLIC KEY-----"
_DIGITS = 32


def by_key(grid: Grid) -> dict[int, str]:
    """Name connected nodes by their public keys; empty for one that has none."""
    return {node.node_id: _name(node.public_key) for node in grid.get_nodes()}


def claimed(value: object) -> str:
    """Read what a node calls itself; empty where that makes no sense."""
    fits = isinstance(value, str) and not value.startswith(KEY)
    return str(value)[:80] if fits else ""


def _name(public_key: bytes) -> str:
    # The simulation engine puts random bytes there.
    if not public_key.startswith(_PEM):
        return ""
    return KEY + hashlib.sha256(public_key).hexdigest()[:_DIGITS]
