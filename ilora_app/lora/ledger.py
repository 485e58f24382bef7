"""The base ledger: what a federation has added to the frozen weights, by version.

Methods that change the base every round append increments; a client that missed rounds
receives exactly what it lacks. Increments are factors L R in units of s, so a base of
version v is W0 + s (sum of the first v increments).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair
from ilora_app.lora.products import of_layers

Increment = Mapping[str, Pair]
"""Module -> (L, R), shapes (d_out, n) and (n, d_in); n may differ between modules."""

_ROUNDINGS = 2.0
"""Singular values below so many float32 roundings of the largest one are noise."""


@dataclass(frozen=True)
class Ledger:
    """Append-only list of increments; version v holds the first v of them.

    Attributes:
        increments: one a version, as appended.
        total: their sum, compressed to its numerical rank.

    """

    increments: tuple[Increment, ...] = ()
    total: Increment = field(default_factory=dict)

    @property
    def version(self) -> int:
        """How many increments there are; 0 is W0 itself."""
        return len(self.increments)

    def append(self, increment: Increment) -> "Ledger":
        """Return the ledger with one more increment, compressed."""
        fresh = compress(increment)
        total = compress(_stack([self.total, fresh])) if self.total else fresh
        return Ledger((*self.increments, fresh), total)

    def append_sum(
        self,
        parts: Sequence[LoraFactors],
        weights: Sequence[float],
        energy: float = 1.0,
    ) -> "Ledger":
        """Return the ledger with sum_k w_k B_k A_k, compressed layer by layer."""
        fresh: dict[str, Pair] = {}
        for module, layer in of_layers(parts, weights):
            fresh |= compress({module: layer.short()}, energy)
        return self.append(fresh)

    def contiguous(self) -> "Ledger":
        """Lay out every factor row by row."""
        return Ledger(
            tuple(_contiguous(increment) for increment in self.increments),
            _contiguous(self.total),
        )

    def since(self, version: int) -> dict[str, Pair | Tensor]:
        """What a base of this version lacks, dense (d_out, d_in) where that is smaller.

        Raises:
            ValueError: there is no such version.

        """
        if not 0 <= version <= self.version:
            raise ValueError(f"base version {version} is outside 0..{self.version}")
        if version == self.version:
            return {}
        lacking = self.increments[version:]
        if version == 0:
            factors = self.total
        elif len(lacking) == 1:
            factors = lacking[0]
        else:
            factors = compress(_stack(lacking))
        return {module: _smaller(pair) for module, pair in factors.items()}

    def as_factors(self, beside: LoraFactors | None = None) -> LoraFactors:
        """The total as LoRA factors on W0, padded to one rank, with others beside it.

        Args:
            beside: factors (B, A) that the model has on top of its base.

        """
        parts = [part for part in (self.total, beside and beside.pairs) if part]
        joined = _stack(parts) if parts else {}
        rank = max((A.shape[0] for _, A in joined.values()), default=0)
        pad = torch.nn.functional.pad
        return LoraFactors(
            {
                module: (
                    pad(L, (0, rank - L.shape[1])),
                    pad(R, (0, 0, 0, rank - R.shape[0])),
                )
                for module, (L, R) in joined.items()
            }
        )


def compress(increment: Increment, energy: float = 1.0) -> dict[str, Pair]:
    """Write products L R with as few directions as their numerical rank.

    Through the SVD of the core R_L R_R^T, whose sides are at most n: nothing of shape
    (d_out, d_in) is formed.

    Args:
        increment: module -> (L, R).
        energy: part of ||L R||_F^2 to keep; the smallest directions are dropped.

    """
    found = {}
    for module, (L, R) in increment.items():
        Q_L, core_L = torch.linalg.qr(L.double())  # (d_out, k), (k, n)
        Q_R, core_R = torch.linalg.qr(R.double().T)  # (d_in, l), (l, n)
        U, S, V = torch.linalg.svd(core_L @ core_R.T, full_matrices=False)
        noise = _ROUNDINGS * torch.finfo(torch.float32).eps * S[:1]
        kept = int((noise < S).sum()) if len(S) else 0
        if energy < 1.0:
            squared = (S * S).cumsum(0)
            enough = int((squared < energy * squared[-1]).sum()) + 1
            kept = min(kept, enough)
        root = S[:kept].sqrt()
        found[module] = (
            ((Q_L @ U[:, :kept]) * root).float(),
            (root.unsqueeze(1) * (V[:kept] @ Q_R.T)).float(),
        )
    return found


def accumulate(
    base: Mapping[str, Tensor], increment: Mapping[str, Pair | Tensor]
) -> dict[str, Tensor]:
    """Add an increment to a dense base: module -> shape (d_out, d_in), float32."""
    found = dict(base)
    for module, value in increment.items():
        dense = value if isinstance(value, Tensor) else value[0] @ value[1]
        found[module] = found[module] + dense if module in found else dense
    return found


def _stack(parts: Sequence[Increment]) -> dict[str, Pair]:
    """Write the sum of products as one product per module."""
    modules = dict.fromkeys(module for part in parts for module in part)
    return {
        module: (
            torch.cat([part[module][0] for part in parts if module in part], dim=1),
            torch.cat([part[module][1] for part in parts if module in part]),
        )
        for module in modules
    }


def _contiguous(increment: Increment) -> dict[str, Pair]:
    return {m: (L.contiguous(), R.contiguous()) for m, (L, R) in increment.items()}


def _smaller(pair: Pair) -> Pair | Tensor:
    """Keep factors, or multiply them out where the product has fewer numbers."""
    L, R = pair
    factored, dense = L.numel() + R.numel(), L.shape[0] * R.shape[1]
    return pair if factored <= dense else L @ R
