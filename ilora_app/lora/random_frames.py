"""Lengths that random orthonormal frames give, drawn without the frames.

A frame of r columns in R^n is the Q of a Gaussian matrix (n, r). Only its inner
products, or some of its rows, are asked for here, so that most of the Gaussian matrix
may be replaced by its triangular factor, whose law is known: the cost has no n in it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def largest_squares(
    n: int, ranks: Sequence[int], draws: int, generator: torch.Generator
) -> Tensor:
    r"""Draw the largest squared singular value of random frames side by side.

    M = [Q_1 ... Q_K] with Q_k a random frame (n, r_k). With G = Q T the Gaussian matrix
    (n, rho) behind all of them, M^T M is that of the frames of the blocks of columns of
    T, as Q drops out.

    Args:
        n: rows.
        ranks: r_k, each between 1 and n.
        draws: how many.
        generator: of the random numbers.

    Returns:
        Shape (draws,), in float64.

    Source: Feng et al. 2018 (arXiv 1704.02060), Section 2.3, random direction bound.

    """
    largest = []
    for _ in range(draws):  # one by one, for memory: rho may be some hundreds
        parts = torch.split(_triangle(n, sum(ranks), 1, generator)[0], list(ranks), 1)
        M = torch.cat([torch.linalg.qr(part).Q for part in parts], dim=1)
        largest.append(torch.linalg.eigvalsh(M.T @ M)[-1])
    return torch.stack(largest)


def leaks(
    values: Tensor, rank: int, room: int, draws: int, generator: torch.Generator
) -> Tensor:
    r"""Draw the spectral norm of a matrix on a random frame beside its signal space.

    ||E^T U*|| with E = P diag(values) R^T: P^T U* are the first rows of a random frame
    in the ``room`` dimensions left beside the signal space. Of the Gaussian matrix
    behind that frame, the other rows matter by their triangular factor only.

    Args:
        values: singular values of E, shape (t,) with t <= ``room``.
        rank: columns of the frame; ``room`` where that is fewer.
        room: dimensions that are left.
        draws: how many.
        generator: of the random numbers.

    Returns:
        Shape (draws,), in float64; zero where nothing is left.

    Source: Feng et al. 2018 (arXiv 1704.02060), Section 2.3, the Wedin bound.

    """
    t = len(values)
    if t == 0:
        return torch.zeros(draws, dtype=torch.float64)
    first = _normal((draws, t, rank), generator)
    others = _triangle(room - t, rank, draws, generator)
    frames = torch.linalg.qr(torch.cat([first, others], dim=1)).Q[:, :t]
    norms: Tensor = torch.linalg.matrix_norm(values[:, None] * frames, ord=2)
    return norms


def _triangle(
    rows: int, columns: int, draws: int, generator: torch.Generator
) -> Tensor:
    """Draw triangular factors of Gaussian matrices (rows, columns).

    Bartlett (1933): normal above the diagonal, chi of rows, rows - 1, ... on it.
    """
    T = _normal((draws, min(rows, columns), columns), generator).triu(1)
    freedom = rows - torch.arange(T.shape[1], dtype=torch.float64)
    T.diagonal(dim1=1, dim2=2).copy_(_chi(freedom.repeat(draws, 1), generator))
    return T


def _chi(freedom: Tensor, generator: torch.Generator) -> Tensor:
    """Draw chi variates: the rejection sampler of Marsaglia and Tsang (2000)."""
    d = freedom / 2.0 + 2.0 / 3.0
    v, waiting = torch.zeros_like(d), torch.ones_like(d, dtype=torch.bool)
    while bool(waiting.any()):
        x, u = _normal(d.shape, generator), _uniform(d.shape, generator)
        new = (1.0 + x / (3.0 * d.sqrt())) ** 3
        # A negative one has no logarithm, and no comparison holds for it.
        fits = waiting & (u.log() < x * x / 2.0 + d * (1.0 - new + new.log()))
        v, waiting = torch.where(fits, new, v), waiting & ~fits
    # d v is of the gamma law of shape freedom / 2 + 1; the power takes the 1 off again.
    return (2.0 * d * v * _uniform(d.shape, generator) ** (2.0 / freedom)).sqrt()


def _normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)
