"""Who a node is: the key that it is registered with, and not what it says.

Flower's SuperLink accepts a request of a SuperNode only if it is signed with the key
that its node id was registered with, and names that key to a ServerApp. A registered
key stays for good; one that a SuperNode without authentication made up is new each time
it starts, and in a simulation there is none.
"""

import hashlib

from flwr.serverapp import Grid
from flwr.superlink.grid import HttpGrid

AUTO = "auto"
KEY = "key-"
"""How the names begin that are made of keys; what a node calls itself never does."""

_PEM = b"-----BEGIN PUBLIC KEY-----"
_DIGITS = 32


Keys = dict[int, bytes | None]
"""Public keys by node id; None: a node is who it says."""


def keys(grid: Grid, known_by: str) -> Keys:
    """Public keys of connected nodes, of which :func:`name` makes names.

    Flower does not say whether SuperNodes are authenticated. Where they are not, a node
    that was started again is another one by its key, which loses it its place, and
    nobody else theirs.

    Args:
        grid: of the run.
        known_by: ``key``, or ``partition``: a node is who it says, and its key is
            None; ``auto`` is the first in deployment, the second in simulation.

    """
    # Flower gives a ServerApp this grid in deployment, and another in simulation.
    deployed = known_by == AUTO and isinstance(grid, HttpGrid)
    if deployed or known_by == "key":
        return {node.node_id: node.public_key for node in grid.get_nodes()}
    return dict.fromkeys(grid.get_node_ids())


def name(public_key: bytes) -> str:
    """Name of a node by its public key; empty for what is none."""
    # The simulation engine puts random bytes there.
    if not public_key.startswith(_PEM):
        return ""
    return KEY + hashlib.sha256(public_key).hexdigest()[:_DIGITS]


def claimed(value: object) -> str:
    """Read what a node calls itself; empty where that makes no sense."""
    fits = isinstance(value, str) and not value.startswith(KEY)
    return str(value)[:80] if fits else ""
