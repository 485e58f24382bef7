"""The client's half of control variates: c_k, and the correction c - c_k."""

from collections.abc import Mapping

import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections.fitting import columns, fit, keep_rank
from ilora_app.lora.control import GradientCorrection, rotate
from ilora_app.lora.factors import AdapterState, LoraFactors

# Names in the client's own state: c_k, c_k+ while it is not acknowledged, and the
# columns of B under which each was computed.
_OWN, _PENDING, _BASIS = "control-variate", "control-variate-pending", "-basis"
_PENDING_ROUND = "control-variate-pending-round"
# Round of c_k: the last whose upload the server took, as far as this client knows.
_ROUND = "control-variate-round"


class ControlVariatesClient:
    """Client half, for one round.

    Args:
        server_control: c as received, by flat name.
        received: the factors received with it.
        memory: the client's own state (``context.state``), read now and written by
            :meth:`finish`.
        basis: as on the server.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.

    """

    def __init__(
        self,
        server_control: Mapping[str, Tensor],
        received: LoraFactors,
        memory: RecordDict,
        basis: str,
        server_round: int,
        last_taken: int,
    ) -> None:
        self._received = received
        self._memory = memory
        self._basis = basis
        self._round = server_round
        self.anew = not self._settle(last_taken)
        """The server counts on a c_k that is not here: this client begins at zero."""
        self._own = self._recall(server_control)
        self.correction = {n: c - self._own[n] for n, c in server_control.items()}
        self._hook: GradientCorrection | None = None

    def hook(self, parameters: Mapping[str, Tensor]) -> GradientCorrection:
        """Build the optimizer step pre-hook that applies c - c_k."""
        self._hook = GradientCorrection(parameters, self.correction)
        return self._hook

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """Keep the new mean gradient c_k+ aside, and return c_k+ - c_k.

        Args:
            full_gradient: the mean gradient over all local data at the received model
                (``full-pass``); None takes the mean over the local steps
                (``local-mean``).
            rank: the client goes on with so many directions, and gives up its part of
                c in the others; None: with all.

        """
        assert self._hook is not None, "hook() comes first"
        found = full_gradient or self._hook.mean_gradient()
        fresh = {name: found[name].float().cpu() for name in self._own}
        if rank is not None:
            fresh = {
                name: keep_rank(name, value, rank) for name, value in fresh.items()
            }
        self._memory[_PENDING] = wire.encode_tensors(fresh)
        self._memory[_PENDING_ROUND] = ConfigRecord({wire.ROUND: self._round})
        if self._basis == "rotate":
            basis = wire.encode_tensors(columns(self._received))
            self._memory[_PENDING + _BASIS] = basis
        return {name: fresh[name] - self._own[name] for name in self._own}

    def _settle(self, last_taken: int) -> bool:
        """Make the pending c_k+ this client's own if the server took it.

        Returns:
            Whether c_k is that of the round in which the server last took an upload;
            it is dropped where not.

        """
        held = self._round_of(_ROUND)
        took = _PENDING in self._memory and self._round_of(_PENDING_ROUND) == last_taken
        for suffix in ("", _BASIS):
            pending = self._memory.pop(_PENDING + suffix, None)
            if took and isinstance(pending, ArrayRecord):
                # A round in which one factor trained moves that part of c_k alone.
                before = self._memory.get(_OWN + suffix, ArrayRecord())
                self._memory[_OWN + suffix] = ArrayRecord({**before, **pending})
        if took:
            held = last_taken
        if held != last_taken:
            for name in (_OWN, _OWN + _BASIS, _ROUND):
                self._memory.pop(name, None)
            return False
        self._memory[_ROUND] = ConfigRecord({wire.ROUND: held})
        return True

    def _round_of(self, name: str) -> int:
        if name not in self._memory:
            return 0
        return int(self._memory.config_records[name][wire.ROUND])  # type: ignore[arg-type]

    def _recall(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read c_k from memory, in the coordinates and the rank of this round."""
        if _OWN not in self._memory:
            return {name: torch.zeros_like(value) for name, value in like.items()}
        own = wire.decode_tensors(self._memory.array_records[_OWN])
        if self._basis == "rotate":
            old = wire.decode_tensors(self._memory.array_records[_OWN + _BASIS])
            kept = AdapterState.from_named_tensors(own)
            own = rotate(kept, old, columns(self._received)).named_tensors()
        return {
            name: fit(own[name], value.shape) if name in own else zeros
            for name, value in like.items()
            for zeros in [torch.zeros_like(value)]
        }
