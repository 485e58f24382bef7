"""A client's own control variate c_k, and c_k+ while the server has not taken it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.corrections.memory import ClientMemory
from ilora_app.corrections.shapes import Flat, columns, cut, fit
from ilora_app.lora.control import rotate
from ilora_app.lora.factors import AdapterState, LoraFactors

# Names in the memory: c_k, c_k+ that is pending, the columns of B under which each was
# computed, and the round of each.
_OWN, _PENDING, _BASIS = "control-variate", "control-variate-pending", "-basis"
_ROUND, _PENDING_ROUND = "control-variate-round", "control-variate-pending-round"


class ClientVariate:
    """Reads and writes c_k in a client's memory.

    Args:
        memory: of this client.
        basis: ``keep`` the numbers, or ``rotate`` them into the basis of a round.

    """

    def __init__(self, memory: ClientMemory, basis: str) -> None:
        self._memory = memory
        self._basis = basis

    def settle(self, last_taken: int) -> bool:
        """Make the pending c_k+ this client's own if the server took it.

        Args:
            last_taken: round in which the server last took this client's upload.

        Returns:
            Whether c_k is that of this round; it is dropped where not.

        """
        memory = self._memory
        pending = {suffix: memory.tensors(_PENDING + suffix) for suffix in ("", _BASIS)}
        took = pending[""] is not None and memory.number(_PENDING_ROUND) == last_taken
        for suffix, tensors in pending.items():
            memory.drop(_PENDING + suffix)
            if took and tensors is not None:
                # A round in which one factor trained moves that part of c_k alone.
                before = memory.tensors(_OWN + suffix) or {}
                memory.keep_tensors(_OWN + suffix, {**before, **tensors})
        if not took and memory.number(_ROUND) != last_taken:
            for name in (_OWN, _OWN + _BASIS, _ROUND):
                memory.drop(name)
            return False
        memory.keep_number(_ROUND, last_taken)
        return True

    def recall(self, like: Flat, received: LoraFactors) -> dict[str, Tensor]:
        """Read c_k in the coordinates and the rank of this round; zeros at first.

        Args:
            like: c as received: the names and shapes.
            received: the factors received with it.

        """
        own: Mapping[str, Tensor] = self._memory.tensors(_OWN) or {}
        if own and self._basis == "rotate":
            # As the server does: what a smaller rank gives up is cut before turning.
            old = self._memory.tensors(_OWN + _BASIS) or {}
            old = {module: B[:, : received.rank] for module, B in old.items()}
            kept = AdapterState.from_named_tensors(cut(own, received.rank))
            own = rotate(kept, old, columns(received)).named_tensors()
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
        self._memory.keep_tensors(_PENDING, fresh)
        self._memory.keep_number(_PENDING_ROUND, server_round)
        if self._basis == "rotate":
            self._memory.keep_tensors(_PENDING + _BASIS, columns(received))
