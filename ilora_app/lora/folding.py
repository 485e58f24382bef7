r"""Layers folded to a smaller size with random signs, which keeps squared norms.

F(X) = S_out^T X S_in. Row i of S_in has one number, a random sign, in column i mod 64;
S_out alike. As E S S^T = I, E ||F(X)||_F^2 = ||X||_F^2 (feature hashing, arXiv
0902.2206). F is linear and F(B A) = (S_out^T B) (A S_in), so sums of products are
folded at the cost of reading their factors.

The squared norm of one direction that is spread evenly over its features has a
standard error of 2 / sqrt(64); n equal directions in each of L layers divide it by
sqrt(n L), as every layer has signs of its own. A layer of at most 64 x 64 is exact.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair
from ilora_app.lora.gram import gram_norm
from ilora_app.lora.products import Block, ProductSum, of_layers

SIDE = 64
"""Longer sides are folded to this."""

EXACT = 64
"""Up to this rho, Gram matrices of all factors cost about as much as folding."""

_KEPT = 1 << 22
"""So many folded numbers of a layer are kept; of more, factors are folded twice."""

Folded = tuple[list[int], Tensor, Tensor]
"""k, S_out^T B_k (n, 64, r), and A_k S_in (n, r, 64), in float64."""


@dataclass(frozen=True)
class Fold:
    """S_out and S_in of a layer, whose name draws the signs: always the same ones.

    Attributes:
        module: its name.
        shape: (d_out, d_in).

    """

    module: str
    shape: tuple[int, int]

    @classmethod
    def of(cls, module: str, layer: ProductSum) -> "Fold":
        """Of a layer."""
        B, A = layer.pairs[0]
        return cls(module, (B.shape[0], A.shape[1]))

    def sides(self, B: Tensor, A: Tensor) -> Pair:
        """S_out^T B of (..., d_out, n), and A S_in of (..., n, d_in), in float64."""
        out, into = _signs(self.module, self.shape)
        d_out, d_in = self.shape
        if d_out > SIDE:
            signs = out.to(B).unsqueeze(1)
            if B.dim() > 2:  # short rows are slow
                signs = signs.expand(B.shape[-2:]).contiguous()
            B = _padded(B * signs, -2)
            B = B.view(*B.shape[:-2], -1, SIDE, B.shape[-1]).sum(dim=-3)
        if d_in > SIDE:
            A = _padded(A * into.to(A), -1)
            A = A.view(*A.shape[:-1], -1, SIDE).sum(dim=-2)
        # What was not folded is the caller's memory, which the next block overwrites.
        return B.to(torch.float64, copy=True), A.to(torch.float64, copy=True)

    def blocks(self, layer: ProductSum, group: Sequence[int]) -> Iterator[Folded]:
        """The products of a layer, those of one rank and group together."""
        for some, B, A in layer.alike(group):
            yield some, *self.sides(B, A)


class Norm:
    """||D||_F^2 of a layer: exact while rho is small.

    Beyond, with R = Q^T D, ||R||_F^2 and an estimate of what Q leaves of D,
    ||F(D) - F(Q R)||_F^2.

    Args:
        module: its name.
        layer: D.

    """

    def __init__(self, module: str, layer: ProductSum) -> None:
        self._layer, self._fold = layer, Fold.of(module, layer)
        self._found: Tensor | None = None

    def add(self, block: Block) -> None:
        """Take a block of the layer: every one is to be given once."""
        if self._layer.rho <= EXACT:
            return
        # What is folded is an estimate, to many times the rounding of what came.
        B, A = self._fold.sides(*(block.given or (block.B, block.A)))
        B = B * block.w
        self._found = B @ A if self._found is None else self._found.addmm_(B, A)

    def add_all(self) -> None:
        """Go through the layer."""
        for block in self._layer:
            self.add(block)

    def squared(self, Q: Tensor, R: Tensor) -> float:
        """||D||_F^2.

        Args:
            Q: orthonormal columns, of which those with no row in R do not count.
            R: Q^T D.

        """
        if self._found is None:
            return gram_norm(*self._layer.stacked)
        Q, folded = self._fold.sides(Q, R)
        rest = self._found - Q @ folded
        return float(R.square().sum() + rest.square().sum())


def squared_distances(
    parts: Sequence[LoraFactors],
    bases: Sequence[LoraFactors],
    base_of: Sequence[int],
    weights: Sequence[float],
) -> Tensor:
    """||Delta_k - sum_j w_j Delta_j||_F^2 over all layers together, by folding Delta_k.

    Args:
        parts, bases, base_of, weights: as for ``spread``.

    Returns:
        Shape (K,), in float64.

    """
    found = torch.zeros(len(parts), dtype=torch.float64)
    by, p = torch.tensor(base_of), torch.tensor(weights, dtype=torch.float64)
    taken = torch.zeros(len(bases), dtype=torch.float64).index_add_(0, by, p)
    for module, layer in of_layers(parts, weights):
        fold = Fold.of(module, layer)
        blocks: Iterable[Folded] = fold.blocks(layer, base_of)
        few = SIDE * 2 * layer.rho <= _KEPT
        blocks = list(blocks) if few else blocks
        mean = _total(blocks, weights)
        starts = torch.stack(
            [torch.matmul(*fold.sides(*base[module])) for base in bases]
        )
        middles = starts + mean - torch.tensordot(taken, starts, 1)
        lengths = middles.square().sum(dim=(1, 2))
        for some, B, A in blocks if few else fold.blocks(layer, base_of):
            M = middles[base_of[some[0]]]
            own = (B.mT @ B) * (A @ A.mT)
            common = (A @ M.T).mT * B
            found[some] += own.sum(dim=(1, 2)) - 2 * common.sum(dim=(1, 2))
        found += lengths[by]
    return found.clamp_(min=0)


def _total(blocks: Iterable[Folded], weights: Sequence[float]) -> Tensor:
    """F(sum_k w_k B_k A_k)."""
    found: Tensor | None = None
    w = torch.tensor(weights, dtype=torch.float64)
    for some, B, A in blocks:
        A = (A * w[some].view(-1, 1, 1)).flatten(0, 1)
        B = B.transpose(0, 1).flatten(1)
        found = B @ A if found is None else found.addmm_(B, A)
    assert found is not None
    return found


def _padded(M: Tensor, dim: int) -> Tensor:
    """Zeros behind it, up to a multiple of the side."""
    shape = list(M.shape)
    shape[dim] = -M.shape[dim] % SIDE
    return torch.cat([M, M.new_zeros(shape)], dim=dim) if shape[dim] else M


@lru_cache(maxsize=1024)
def _signs(module: str, shape: tuple[int, int]) -> Pair:
    new = torch.Generator().manual_seed(zlib.crc32(module.encode()))
    out, into = (torch.randint(2, (d,), generator=new) for d in shape)
    return 2.0 * out - 1, 2.0 * into - 1
