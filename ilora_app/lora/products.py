r"""Weighted sums of products, D = sum_k w_k B_k A_k, at a cost linear in their number.

The rank of such a sum, rho = sum_k r_k, grows with the clients, while D has
d_out x d_in numbers however many there are. While rho is at most min(d_out, d_in) the
factors side by side are the smaller object; beyond, it is D itself, added up block by
block. Either way what is held beside the factors is a block of them and one D, of
one layer at a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair


class Block(NamedTuple):
    """Products side by side.

    Attributes:
        B, A: [B_1 ... B_n] and [A_1; ...; A_n], in float64.
        w: of every column of B, or row of A.
        given: B and A in the type that they came in; None: float64.

    """

    B: Tensor
    A: Tensor
    w: Tensor
    given: Pair | None = None


BLOCK = 256
"""So many columns of B and rows of A are taken at once."""


class Buffers:
    """Memory for a block of factors, written over by the next one.

    New pages of memory take longer to come than to be filled.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Memory of a shape, of the type and place of a tensor."""
        key, size = (name, like.dtype), math.prod(shape)
        if key not in self._held or self._held[key].numel() < size:
            self._held[key] = like.new_empty(size)
        return self._held[key][:size].view(shape)

    def cat(self, name: str, parts: Sequence[Tensor], dim: int) -> Tensor:
        """Matrices side by side."""
        shape = list(parts[0].shape)
        shape[dim] = sum(part.shape[dim] for part in parts)
        # Means beside what clients sent may be more exact than that, and stay so.
        like = next((part for part in parts if part.dtype == torch.float64), parts[0])
        joined = self.get(name, tuple(shape), like)
        return torch.cat(list(parts), dim=dim, out=joined)

    def stack(self, name: str, parts: Sequence[Tensor]) -> Tensor:
        """Matrices of one shape above one another."""
        shape = (len(parts), *parts[0].shape)
        like = next((part for part in parts if part.dtype == torch.float64), parts[0])
        found = self.get(name, shape, like)
        return torch.stack(list(parts), out=found)

    def double(self, name: str, values: Tensor) -> Tensor:
        """The same numbers in float64."""
        if values.dtype == torch.float64:
            return values
        like = values.new_empty(0, dtype=torch.float64)
        return self.get(name, tuple(values.shape), like).copy_(values)


@dataclass(frozen=True)
class ProductSum:
    """D = sum_k w_k B_k A_k of one layer, shape (d_out, d_in).

    Attributes:
        pairs: (B_k, A_k), of any ranks.
        weights: w_k.
        buffers: hold one block, or all products side by side, until the next ones.

    """

    pairs: Sequence[Pair]
    weights: Sequence[float]
    buffers: Buffers = field(default_factory=Buffers)

    @cached_property
    def rho(self) -> int:
        """The sum of all ranks."""
        return sum(A.shape[0] for _, A in self.pairs)

    @property
    def is_long(self) -> bool:
        """Whether rho > min(d_out, d_in), so that D has fewer numbers than factors."""
        B, A = self.pairs[0]
        return self.rho > min(B.shape[0], A.shape[1])

    @property
    def stacked(self) -> Pair:
        """[B_1 ... B_K], [w_1 A_1; ...; w_K A_K] in float64, whose product is D."""
        B, A, w, _ = self._all
        weighted = self.buffers.get("weighted", tuple(A.shape), A)
        return B, torch.mul(A, w.unsqueeze(1), out=weighted)

    def __iter__(self) -> Iterator[Block]:
        """Blocks of products side by side, in order and in float64."""
        if self.rho <= BLOCK:
            yield self._all
            return
        start, columns = 0, 0
        for end, (_, A) in enumerate(self.pairs, 1):
            columns += A.shape[0]
            if columns >= BLOCK or end == len(self.pairs):
                yield self._side_by_side("block", slice(start, end))
                start, columns = end, 0

    def alike(
        self, group: Sequence[int] = ()
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Stack products of one rank and group, in blocks, with their indices.

        Returns:
            k, B of shape (n, d_out, r) and A of shape (n, r, d_in).

        """
        found: dict[tuple[int, int], list[int]] = {}
        for k, (_, A) in enumerate(self.pairs):
            found.setdefault((A.shape[0], group[k] if group else 0), []).append(k)
        for (rank, _), members in found.items():
            size = max(1, BLOCK // max(1, rank))
            for start in range(0, len(members), size):
                some = members[start : start + size]
                B = self.buffers.stack("one rank B", [self.pairs[k][0] for k in some])
                A = self.buffers.stack("one rank A", [self.pairs[k][1] for k in some])
                yield some, B, A

    def dense(self) -> tuple[Tensor, float]:
        """D in float64, and what rounds in it.

        The latter is ||[B_1 ... B_K]||_F ||[w_1 A_1; ...; w_K A_K]||_F.
        """
        B, A = self.pairs[0]
        shape = B.shape[0], A.shape[1]
        D = torch.zeros(shape, dtype=torch.float64, device=B.device)
        squared = torch.zeros(2, dtype=torch.float64)
        for B, A, w, _ in self:
            weighted = A * w.unsqueeze(1)
            D.addmm_(B, weighted)
            norms = [torch.linalg.vector_norm(side).cpu() for side in (B, weighted)]
            squared += torch.stack(norms).square()
        return D, float(squared.prod().sqrt())

    def short(self) -> Pair:
        """D as a product in float64 of no more than min(d_out, d_in) directions."""
        if not self.is_long:
            return self.stacked
        D, _ = self.dense()
        if D.shape[0] < D.shape[1]:
            return torch.eye(D.shape[0], dtype=D.dtype, device=D.device), D
        return D, torch.eye(D.shape[1], dtype=D.dtype, device=D.device)

    @cached_property
    def _all(self) -> Block:
        return self._side_by_side("all", slice(None))

    def _side_by_side(self, name: str, some: slice) -> Block:
        pairs, weights = self.pairs[some], self.weights[some]
        given = (
            self.buffers.cat(f"{name} B", [B for B, _ in pairs], 1),
            self.buffers.cat(f"{name} A", [A for _, A in pairs], 0),
        )
        B = self.buffers.double(f"{name} B", given[0])
        A = self.buffers.double(f"{name} A", given[1])
        each = zip(pairs, weights, strict=True)
        w = A.new_tensor([w for (_, A_k), w in each for _ in range(len(A_k))])
        return Block(B, A, w, given)


def of_layers(
    parts: Sequence[LoraFactors], weights: Sequence[float]
) -> Iterator[tuple[str, ProductSum]]:
    """Go through the layers of a sum of models; each ends what the last one stacked.

    Raises:
        ValueError: the parts do not adapt the same modules.

    """
    if any(part.pairs.keys() != parts[0].pairs.keys() for part in parts):
        raise ValueError("stacked factors must adapt the same modules")
    buffers = Buffers()
    for module in parts[0].pairs:
        yield module, ProductSum([part[module] for part in parts], weights, buffers)
