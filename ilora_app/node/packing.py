"""What a client sends of a round: numbers as they travel, and what rounding loses.

Where numbers are rounded, a tensor that the server has sent goes back as its change.
What rounding loses of that is kept, and added to the next change that is sent: sums
over rounds are off by the last loss alone. Factors whose basis turns from round to
round have no such memory, as numbers in the old basis mean nothing in the new one.

A reply may be lost or refused. Then the server has not got what was added to it, and
the client must send that again: what a reply loses is kept aside until a later message
says in which round the server last took one.
"""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import ClientCorrection
from ilora_app.lora.factors import GROUPS, only
from ilora_app.methods import Method
from ilora_app.node.client_state import ClientState
from ilora_app.node.instructions import Instructions
from ilora_app.node.node import Node

_LOST, _PENDING = "lost-in-rounding", "lost-in-rounding-pending"
_AT, _PENDING_AT = "lost-in-rounding-round", "lost-in-rounding-pending-round"


class Packing:
    """Writes the tensors of one reply.

    Args:
        instructions: that the client has followed.
        encoding: how numbers travel; its seed is that of this client in this round.
        remembers: groups of tensors whose losses can be sent later.
        taken: round in which the server last took a reply of this client.

    """

    def __init__(
        self,
        instructions: Instructions,
        encoding: wire.Encoding,
        remembers: tuple[str, ...],
        taken: int,
    ) -> None:
        self._round, self._state = instructions.round, instructions.state
        self._encoding, self._remembers = encoding, remembers
        self._begun = {
            name: value
            for name, value in instructions.tensors.items()
            if name not in only(instructions.tensors, instructions.plan.own)
        }
        self._lost = {} if encoding.is_exact else _settled(self._state, taken)

    @classmethod
    def of(cls, node: Node, instructions: Instructions, config: Any) -> "Packing":
        """For a node, by the config record of the message that it answers."""
        seed = node.seed(instructions.round)
        encoding = wire.Encoding(node.settings.run.wire_dtype, seed)
        remembers = remembered(node.method)
        return cls(
            instructions, encoding, remembers, int(config.get(wire.UPLOAD_TAKEN, 0))
        )

    def arrays(self, tensors: Mapping[str, Tensor]) -> ArrayRecord:
        """Write what was trained, and keep what rounding loses of it.

        Raises:
            WireError: training has ended with a number that cannot be rounded.

        """
        if self._encoding.is_exact:
            return wire.encode_tensors(tensors)
        changes = {}
        for name, value in tensors.items():
            begun, lost = self._begun.get(name), self._lost.get(name)
            change = value.detach().float().cpu()
            if begun is not None and begun.shape == value.shape:
                change = change - begun
                if lost is not None and lost.shape == value.shape:
                    change = change + lost
            changes[name] = change
        record = self._encoding.encode(changes, "up")
        arrived = wire.decode_tensors(record)
        left = {
            name: change - arrived[name]
            for name, change in only(changes, self._remembers).items()
            if name in self._begun and self._begun[name].shape == change.shape
        }
        # A round in which one factor trained loses nothing of the other.
        self._state.keep_tensors(_PENDING, {**self._lost, **left})
        self._state.keep_number(_PENDING_AT, self._round)
        return record

    def correction(
        self, half: ClientCorrection, uploads: Mapping[str, Tensor]
    ) -> ArrayRecord:
        """Write what a drift correction uploads, and tell it what arrives."""
        if self._encoding.is_exact or not half.rounds:
            return wire.encode_tensors(uploads)
        record = self._encoding.encode(uploads, "control")
        half.arrives(wire.decode_tensors(record))
        return record


def remembered(method: type[Method]) -> tuple[str, ...]:
    """Groups of tensors of which what is lost can be sent later, under a method."""
    return GROUPS if method.keeps_basis() else ("head",)


def _settled(state: ClientState, taken: int) -> dict[str, Tensor]:
    """What replies that the server took have lost so far, and no later one brought.

    Args:
        state: of the client.
        taken: round in which the server last took a reply.

    """
    pending = state.tensors(_PENDING)
    if pending is not None and state.number(_PENDING_AT) == taken:
        state.keep_tensors(_LOST, pending)
        state.keep_number(_AT, taken)
    state.drop(_PENDING)
    if state.number(_AT) != taken:  # it came with a reply of which nothing is left here
        state.drop(_LOST)
        state.keep_number(_AT, taken)
    return state.tensors(_LOST) or {}
