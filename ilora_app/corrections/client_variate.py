"""A client's own control variate c_k, and c_k+ while the server has not taken it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.corrections.memory import ClientMemory
from ilora_app.corrections.shapes import Flat, basis_of, cut, factors_of, fit
from ilora_app.lora.control import rotate
from ilora_app.lora.factors import AdapterState, LoraFactors

CONTROL_VARIATE = "control-variate"
_BASIS = "-basis"


class ClientVariate:
    """Reads and writes c_k in a client's memory.

    Args:
        memory: of this client.
        basis: ``keep`` the numbers, or ``rotate`` them into the basis of a round.
        name: in the memory.

    """

    def __init__(
        self, memory: ClientMemory, basis: str, name: str = CONTROL_VARIATE
    ) -> None:
        self._memory = memory
        self._basis = basis
        # c_k, c_k+ that is pending, and the round of each; with _BASIS behind them the
        # factors under which they were computed.
        self._name, self._pending = name, f"{name}-pending"
        self._at, self._pending_at = f"{name}-round", f"{name}-pending-round"

    def settle(self, last_taken: int) -> bool:
        """Make the pending c_k+ this client's own if the server took it.

        Args:
            last_taken: round in which the server last took this client's upload.

        Returns:
            Whether c_k is that of this round; it is dropped where not.

        """
        memory = self._memory
        pending = {
            suffix: memory.tensors(self._pending + suffix) for suffix in ("", _BASIS)
        }
        took = pending[""] is not None and memory.number(self._pending_at) == last_taken
        for suffix, tensors in pending.items():
            memory.drop(self._pending + suffix)
            if took and tensors is not None:
                # A round in which one factor trained moves that part of c_k alone.
                before = memory.tensors(self._name + suffix) or {}
                memory.keep_tensors(self._name + suffix, {**before, **tensors})
        if not took and memory.number(self._at) != last_taken:
            for name in (self._name, self._name + _BASIS, self._at):
                memory.drop(name)
            return False
        memory.keep_number(self._at, last_taken)
        return True

    def recall(self, like: Flat, received: LoraFactors) -> dict[str, Tensor]:
        """Read c_k in the coordinates and the rank of this round; zeros at first.

        Args:
            like: c as received: the names and shapes.
            received: the factors received with it.

        """
        own: Mapping[str, Tensor] = self._memory.tensors(self._name) or {}
        if own and self._basis == "rotate":
            # As the server does: what a smaller rank gives up is cut before turning.
            old = self._memory.tensors(self._name + _BASIS) or {}
            kept = AdapterState.from_named_tensors(cut(own, received.rank))
            then = factors_of(cut(old, received.rank))
            own = rotate(kept, then, received).named_tensors()
        return {
            name: fit(own[name], zeros.shape) if name in own else zeros
            for name, zeros in ((n, torch.zeros_like(c)) for n, c in like.items())
        }

    def keep_pending(
        self, fresh: Flat, received: LoraFactors, server_round: int
    ) -> None:
        """Keep c_k+ aside until the server says that it took it.

        Args:
            fresh: c_k+.
            received: the factors that it was computed under.
            server_round: the round of it.

        """
        self._memory.keep_tensors(self._pending, fresh)
        self._memory.keep_number(self._pending_at, server_round)
        if self._basis == "rotate":
            self._memory.keep_tensors(self._pending + _BASIS, basis_of(received))
