r"""Weighted sums of products, D = sum_k w_k B_k A_k, at a cost linear in their number.

The rank of such a sum, rho = sum_k r_k, grows with the clients, while D has
d_out x d_in numbers however many there are. While rho is at most min(d_out, d_in) the
factors side by side are the smaller object, and a norm comes from their Gram matrices;
beyond, it is D itself, added up from blocks of factors. Either way what is held beside
the factors is a block of them and one D, of one layer at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair

BLOCK = 1024
"""So many columns of B and rows of A are multiplied at once."""

_SMALL = 32
"""Gram matrices of so few columns are not split."""


class Accumulator:
    """Adds w B A to a dense D of shape (d_out, d_in), product by product, in order.

    Args:
        dtype: that blocks are multiplied in; they are added up in float64.

    """

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self._dtype = dtype
        self._sum: Tensor | None = None
        self._waiting: list[tuple[Pair, float]] = []
        self._columns = 0
        self._squared = [0.0, 0.0]

    def add(self, pair: Pair, weight: float) -> None:
        """Add w B A."""
        self._waiting.append((pair, weight))
        self._columns += pair[1].shape[0]
        if self._columns >= BLOCK:
            self._multiply()

    def total(self) -> Tensor:
        """D, in float64."""
        if self._waiting:
            self._multiply()
        assert self._sum is not None
        return self._sum

    @property
    def length(self) -> float:
        """||[B_1 ... B_K]||_F ||[w_1 A_1; ...; w_K A_K]||_F: what rounds in D."""
        B, A = self._squared
        return float((B * A) ** 0.5)

    def _multiply(self) -> None:
        B, A = side_by_side(self._waiting, self._dtype)
        self._waiting, self._columns = [], 0
        for side, value in enumerate((B, A)):
            self._squared[side] += float(torch.linalg.vector_norm(value)) ** 2
        if self._sum is None:
            self._sum = (B @ A).double()
        elif self._dtype == torch.float64:
            self._sum.addmm_(B, A)
        else:
            self._sum += B @ A


@dataclass(frozen=True)
class ProductSum:
    """D = sum_k w_k B_k A_k of one layer, shape (d_out, d_in).

    Attributes:
        pairs: (B_k, A_k), of any ranks.
        weights: w_k.

    """

    pairs: Sequence[Pair]
    weights: Sequence[float]

    @property
    def is_long(self) -> bool:
        """Whether rho > min(d_out, d_in), so that D has fewer numbers than factors."""
        B, A = self.pairs[0]
        return sum(A.shape[0] for _, A in self.pairs) > min(B.shape[0], A.shape[1])

    def stacked(self) -> Pair:
        """[B_1 ... B_K], [w_1 A_1; ...; w_K A_K] in float64, whose product is D."""
        terms = list(zip(self.pairs, self.weights, strict=True))
        return side_by_side(terms, torch.float64)

    def dense(self, dtype: torch.dtype = torch.float64) -> Accumulator:
        """D, its blocks multiplied in ``dtype``."""
        found = Accumulator(dtype)
        for pair, weight in zip(self.pairs, self.weights, strict=True):
            found.add(pair, weight)
        return found

    def short(self) -> Pair:
        """D as a product in float64 of no more than min(d_out, d_in) directions."""
        if not self.is_long:
            return self.stacked()
        D = self.dense().total()
        if D.shape[0] < D.shape[1]:
            return torch.eye(D.shape[0], dtype=D.dtype, device=D.device), D
        return D, torch.eye(D.shape[1], dtype=D.dtype, device=D.device)

    def squared_norm(self) -> float:
        """||D||_F^2; where rho is large to 1e-7 of what is added, in float32."""
        if self.is_long:
            return float(self.dense(torch.float32).total().square_().sum())
        return gram_norm(*self.stacked())


def of_layers(
    parts: Sequence[LoraFactors], weights: Sequence[float]
) -> Iterator[tuple[str, ProductSum]]:
    """Go through the layers of a sum of models.

    Raises:
        ValueError: the parts do not adapt the same modules.

    """
    if any(part.pairs.keys() != parts[0].pairs.keys() for part in parts):
        raise ValueError("stacked factors must adapt the same modules")
    for module in parts[0].pairs:
        yield module, ProductSum([part[module] for part in parts], weights)


def squared_norm(parts: Sequence[LoraFactors], weights: Sequence[float]) -> float:
    """||sum_k w_k B_k A_k||_F^2 over all layers together."""
    return sum(layer.squared_norm() for _, layer in of_layers(parts, weights))


def gram_norm(B: Tensor, A: Tensor) -> float:
    """||B A||_F^2 = sum((B^T B) * (A A^T)), with B A never formed.

    Gram matrices are symmetric: of two halves, the mixed part counts twice.
    """
    half = A.shape[0] // 2
    if half < _SMALL:
        return float(((B.T @ B) * (A @ A.T)).sum())
    B_1, B_2, A_1, A_2 = B[:, :half], B[:, half:], A[:half], A[half:]
    mixed = float(((B_1.T @ B_2) * (A_1 @ A_2.T)).sum())
    return gram_norm(B_1, A_1) + gram_norm(B_2, A_2) + 2 * mixed


def side_by_side(terms: Sequence[tuple[Pair, float]], dtype: torch.dtype) -> Pair:
    """[B_1 ... B_n], [w_1 A_1; ...; w_n A_n] of some products, in ``dtype``."""
    B = torch.cat([B for (B, _), _ in terms], dim=1).to(dtype)
    A = torch.cat([A for (_, A), _ in terms]).to(dtype)
    by = [weight for (_, A), weight in terms for _ in range(A.shape[0])]
    A.mul_(torch.tensor(by, dtype=dtype, device=A.device).unsqueeze(1))
    return B, A
