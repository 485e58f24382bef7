r"""Ridge regression from sums over clients: exact whatever the split.

Fed3R (arXiv 2406.01116). With phi the features of an example, a 1 appended, and Y
one-hot, client k sends G_k = Phi_k^T Phi_k and b_k = Phi_k^T Y_k. Their sums give the
ridge head of the pooled data: W = (sum_k G_k + lambda I)^-1 sum_k b_k.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RidgeSums:
    """What a ridge regression needs of any number of examples.

    Attributes:
        gram: one triangle of Phi^T Phi, shape ((h + 1) (h + 2) / 2,), in float64.
        cross: Phi^T Y, shape (h + 1, C), in float64; its last row counts the classes.

    """

    gram: Tensor
    cross: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, classes: int) -> "RidgeSums":
        """Add up examples.

        Args:
            features: shape (n, h).
            labels: shape (n,), from 0 to C - 1.
            classes: C.

        """
        ones = torch.ones(len(features), 1, dtype=torch.float64)
        Phi = torch.cat([features.double(), ones], dim=1)  # (n, h + 1)
        Y = torch.nn.functional.one_hot(labels, classes).double()
        return cls(triangle(Phi.T @ Phi), Phi.T @ Y)

    @classmethod
    def zeros(cls, features: int, classes: int) -> "RidgeSums":
        """No examples yet."""
        size = features + 1
        gram = torch.zeros(size * (size + 1) // 2, dtype=torch.float64)
        return cls(gram, torch.zeros(size, classes, dtype=torch.float64))

    def __add__(self, other: "RidgeSums") -> "RidgeSums":
        return RidgeSums(self.gram + other.gram, self.cross + other.cross)

    def times(self, factor: float) -> "RidgeSums":
        """As many examples as if each counted for ``factor``."""
        return RidgeSums(factor * self.gram, factor * self.cross)

    def length(self) -> float:
        """Root of the mean squared length of a feature vector, without its 1."""
        n = self.examples()
        squares = float(square(self.gram, len(self.cross)).diagonal()[:-1].sum())
        return (max(squares, 0.0) / n) ** 0.5 if n else 0.0

    def examples(self) -> float:
        """How many examples there are: the last diagonal element."""
        return float(self.gram[-1])

    def solve(self, ridge: float, temperature: float, bias: bool = True) -> Tensor:
        """Weights of the head: W / tau, the last row its bias.

        Args:
            ridge: lambda, as a part of the mean squared length of a feature.
            temperature: tau, so that a softmax is neither flat nor hard.
            bias: the layer has one.

        Returns:
            Shape (h + 1, C), or (h, C) without a bias, in float64.

        """
        G, b = square(self.gram, len(self.cross)), self.cross
        if not bias:
            G, b = G[:-1, :-1], b[:-1]
        scale = float(G.diagonal().mean()) if len(G) else 1.0
        eye = torch.eye(len(G), dtype=G.dtype)
        W: Tensor = torch.linalg.solve(G + ridge * scale * eye, b)
        return W / temperature


def triangle(M: Tensor) -> Tensor:
    """Lower triangle of a symmetric matrix, row by row: shape (n (n + 1) / 2,)."""
    rows, columns = torch.tril_indices(len(M), len(M))
    return M[rows, columns]


def square(flat: Tensor, size: int) -> Tensor:
    """Symmetric matrix (n, n) of a triangle that :func:`triangle` gave."""
    rows, columns = torch.tril_indices(size, size)
    M = torch.zeros(size, size, dtype=flat.dtype)
    M[rows, columns] = flat
    M[columns, rows] = flat
    return M
