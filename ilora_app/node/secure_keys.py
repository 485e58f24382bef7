"""Keys of a node for a session of secure aggregation, fresh and of its own files."""

from pathlib import Path
from typing import Any

from flwr.app import Context

from ilora_app import wire
from ilora_app.node.client_state import ClientState
from ilora_app.node.config import NodeError
from ilora_app.node.node import Node
from ilora_app.secure import Participant, Roster, SecureError, Signer, Terms
from ilora_app.settings import options

_MOST_PASSES = 8


def begin(node: Node, facts: Any, context: Context) -> Participant:
    """Make keys of a session; of each round and purpose there is one.

    Raises:
        WireError: the server asks for another session than this node takes part in.
        NodeError: its own key cannot be read.

    """
    purpose, number = str(facts[wire.PURPOSE]), int(facts[wire.ROUND])
    passes = int(facts[wire.PASSES])
    if purpose not in ("train", "head") or not 1 <= passes <= _MOST_PASSES:
        raise wire.WireError(f"no session of {passes} passes for {purpose[:20]!r}")
    state, name = ClientState(context.state), f"secure-round-{purpose}"
    if number + 1 <= state.number(name):
        raise wire.WireError(
            f"round {number} was masked before; a second set of nodes for it would "
            "show what one of them has sent"
        )
    state.keep_number(name, number + 1)
    least = int(facts[wire.SECURE_LEAST])
    if least < node.settings.privacy.secure_min_nodes:
        raise wire.WireError("the server asks for fewer nodes than secure-min-nodes")
    terms = Terms(context.run_id, number, purpose, passes, least)
    path = context.node_config.get(wire.SECURE_KEY)
    signer = None
    if path:
        signer = _read(wire.SECURE_KEY, str(path), Signer.read)
    rank = int(facts.get(wire.RANK, 1))
    if not 0 < rank < 2**16:
        raise wire.WireError(f"rank {rank}: there is none")
    return Participant.begin(terms, int(context.node_id), signer, rank)


def roster(context: Context) -> Roster | None:
    """Whom this node takes for a node; None: whoever the server shows."""
    path = context.node_config.get(wire.SECURE_ROSTER)
    return _read(wire.SECURE_ROSTER, str(path), Roster.read) if path else None


def _read(key: str, path: str, read: Any) -> Any:
    """Read a file of this node; the server is not told where it lies."""
    told = f"--node-config {key}: expected a file with keys"
    try:
        file: Path = options.folder(path)
        return read(file.read_bytes())
    except (OSError, SecureError) as error:
        raise NodeError(f"--node-config {key} = {path!r}: {error}", told) from error
