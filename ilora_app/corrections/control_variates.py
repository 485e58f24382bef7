"""Rank-aware control variates (arXiv 2511.16069; SCAFFOLD in factor coordinates).

The server keeps c at r_max and broadcasts it cut to r_k; client k keeps c_k. Every
local step uses g + (c - c_k); afterwards c_k+ is the mean raw gradient, the client
uploads c_k+ - c_k, and c <- c + pad(sum_k (c_k+ - c_k)) / N.
"""

from collections.abc import Mapping, Sequence

import torch
from flwr.app import RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.control import (
    BASES,
    NORMALISATIONS,
    SCOPES,
    GradientCorrection,
    rotate,
    server_update,
    within_scope,
    zeros_like,
)
from ilora_app.lora.factors import AdapterState, LoraFactors

_OWN, _OWN_BASIS = "control-variate", "control-basis"


class ControlVariates:
    """Server half.

    Args:
        normalisation: divide by ``all`` members (the paper) or by the ``holders`` of
            an index.
        basis: ``keep`` the numbers of c through aggregation, or ``rotate`` them into
            the new basis.
        scope: correct ``all``, the ``head`` alone, or the ``factors`` alone.

    Raises:
        ValueError: a setting outside its choices.

    """

    name = "control-variates"

    def __init__(
        self, normalisation: str = "holders", basis: str = "keep", scope: str = "all"
    ) -> None:
        for value, choices in (
            (normalisation, NORMALISATIONS),
            (basis, BASES),
            (scope, SCOPES),
        ):
            if value not in choices:
                raise ValueError(f"{value!r}: expected one of {', '.join(choices)}")
        self.normalisation = normalisation
        self.basis = basis
        self.scope = scope
        self.control: AdapterState | None = None

    def begin(self, adapter: AdapterState) -> None:
        """Set c = 0, in the shapes of the global model."""
        self.control = zeros_like(within_scope(adapter, self.scope))

    def share(self, rank: int) -> dict[str, Tensor]:
        """c cut to the first ``rank`` columns of B and rows of A, for one client."""
        assert self.control is not None, "begin() comes first"
        return self.control.cut(rank).named_tensors()

    def aggregate(
        self,
        deltas: Sequence[Mapping[str, Tensor]],
        member_ranks: Sequence[int],
        old: LoraFactors,
        new: LoraFactors,
    ) -> None:
        """Update c from the uploads, then follow the change of basis old -> new.

        An update that overflows is dropped: c stays as it was.
        """
        assert self.control is not None, "begin() comes first"
        states = [AdapterState.from_named_tensors(delta) for delta in deltas]
        fresh = server_update(self.control, states, member_ranks, self.normalisation)
        if self.basis == "rotate":
            fresh = rotate(fresh, _columns(old), _columns(new))
        if all(value.isfinite().all() for value in fresh.named_tensors().values()):
            self.control = fresh

    def __str__(self) -> str:
        return (
            f"{self.name} (normalisation {self.normalisation}, basis {self.basis}, "
            f"scope {self.scope})"
        )


class ControlVariatesClient:
    """Client half, for one round.

    Args:
        server_control: c as received, by flat name.
        received: the factors received with it.
        memory: the client's own state (``context.state``), read now and written by
            :meth:`finish`.
        basis: as on the server.

    """

    def __init__(
        self,
        server_control: Mapping[str, Tensor],
        received: LoraFactors,
        memory: RecordDict,
        basis: str,
    ) -> None:
        self._received = received
        self._memory = memory
        self._own = self._recall(AdapterState.from_named_tensors(server_control), basis)
        own = self._own.named_tensors()
        self.correction = {n: c - own[n] for n, c in server_control.items()}
        self._hook: GradientCorrection | None = None

    def hook(self, parameters: Mapping[str, Tensor]) -> GradientCorrection:
        """Build the optimizer step pre-hook that applies c - c_k."""
        self._hook = GradientCorrection(parameters, self.correction)
        return self._hook

    def finish(
        self, full_gradient: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Replace c_k by the new mean gradient, keep it, and return c_k+ - c_k.

        Args:
            full_gradient: the mean gradient over all local data at the received model
                (``full-pass``); None takes the mean over the local steps
                (``local-mean``).

        """
        assert self._hook is not None, "hook() comes first"
        found = full_gradient or self._hook.mean_gradient()
        own = self._own.named_tensors()
        fresh = {name: found[name].float().cpu() for name in own}
        self._memory[_OWN] = wire.encode_tensors(fresh)
        self._memory[_OWN_BASIS] = wire.encode_tensors(_columns(self._received))
        return {name: fresh[name] - own[name] for name in own}

    def _recall(self, like: AdapterState, basis: str) -> AdapterState:
        """Read c_k from memory, in the coordinates and the rank of this round."""
        if _OWN not in self._memory:
            return zeros_like(like)
        kept = wire.decode_tensors(self._memory.array_records[_OWN])
        own = AdapterState.from_named_tensors(kept)
        if basis == "rotate":
            old = wire.decode_tensors(self._memory.array_records[_OWN_BASIS])
            return rotate(own, old, _columns(self._received))
        rank = like.factors.rank
        return own.cut(rank) if own.factors.rank >= rank else own.pad(rank)


def _columns(factors: LoraFactors) -> dict[str, Tensor]:
    return {module: torch.as_tensor(B) for module, (B, _) in factors.items()}
