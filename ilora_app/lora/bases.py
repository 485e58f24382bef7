"""Orthonormal bases of a part of the columns of a matrix.

What counts as zero is said by the caller, who knows what its numbers come from.
"""

import torch
from torch import Tensor

from ilora_app.lora.gram import SQUARED, leading_eigenvectors

# Squared lengths are measured again when they have fallen by this factor.
_DROWNED = 1e-6

# Fewer singular vectors than this come as fast all at once.
_MANY = 96


def leading_basis(M: Tensor, roundings: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormalise the columns of M from left to right, positive diagonal.

    Args:
        M: shape (d, r) with r <= d.
        roundings: shape (r,); a column whose new part is not longer than this adds
            no direction.

    Returns:
        Q of shape (d, r) with a zero column where nothing was added, and the mask of
        shape (r,) of the columns that count. The span of the first j columns of Q is
        the span of the first j columns of M, for every j.

    """
    Q, R = torch.linalg.qr(M)
    diagonal = torch.diagonal(R)
    if bool((diagonal.abs() > roundings).all()):
        return Q * torch.sign(diagonal), torch.ones_like(diagonal, dtype=torch.bool)
    # Householder QR fills a dependent column with an arbitrary direction, which then
    # takes its share of the columns after it. Going column by column keeps the spans.
    Q = torch.zeros_like(M)
    for j in range(M.shape[1]):
        rest = _reject(M[:, j], Q[:, :j])
        length = torch.linalg.vector_norm(rest)
        if length > roundings[j]:
            Q[:, j] = rest / length
    return Q, Q.any(dim=0)


def pivoted_basis(M: Tensor, rank: int, roundings: Tensor) -> tuple[Tensor, Tensor]:
    """Basis of the columns of M, greedily by what they add.

    What is left of the columns' lengths follows from each new row of the factor; it is
    measured again before what was taken away would drown it in rounding.

    Args:
        M: shape (d, n).
        rank: r.
        roundings: a column not longer than this adds no direction.

    Returns:
        Q of shape (d, r), zero where nothing was added, and which columns count.

    """
    Q = torch.zeros(M.shape[0], rank, dtype=M.dtype, device=M.device)
    left = measured = (M * M).sum(dim=0)
    for j in range(min(rank, M.shape[0])):
        if left.max() < _DROWNED * measured.max():
            rest = M - Q[:, :j] @ (Q[:, :j].T @ M)
            left = measured = (rest * rest).sum(dim=0)
        column = _reject(M[:, int(torch.argmax(left))], Q[:, :j])
        length = torch.linalg.vector_norm(column)
        if length <= roundings:
            break
        Q[:, j] = column / length
        left = left - (Q[:, j] @ M).square_()
    return Q, Q.any(dim=0)


def singular_basis(M: Tensor, rank: int, roundings: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors of M, zero where it has no more, and which of them count.

    A few of many come from M M^T or M^T M, whichever is smaller, in a quarter of the
    time of all: unless one is so short that squaring drowns it.

    Args:
        M: shape (d, n).
        rank: r.
        roundings: a singular value not larger than this is none.

    """
    if min(M.shape) >= max(_MANY, 8 * rank) and not M.is_cuda:
        U, S = _leading_vectors(M.double(), rank)
        if bool(S[-1] > SQUARED * S[0]) and bool((roundings < S).all()):
            return U.to(M.dtype), torch.ones(rank, dtype=torch.bool)
    U, S, _ = torch.linalg.svd(M, full_matrices=False)
    missing = (0, max(0, rank - U.shape[1]))
    pad = torch.nn.functional.pad
    U, S = pad(U[:, :rank], missing), pad(S[:rank], missing)
    return U, roundings < S


def _leading_vectors(M: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """U and S of the r longest directions of M, the longest first, in float64."""
    wide = M.shape[0] <= M.shape[1]
    S, found = leading_eigenvectors(M @ M.T if wide else M.T @ M, rank)
    return (found if wide else torch.linalg.qr(M @ found).Q), S


def signed(basis: Tensor) -> Tensor:
    """Fix signs: the largest number of every column is positive."""
    largest = basis.abs().argmax(dim=0, keepdim=True)
    return basis * torch.sign(basis.gather(0, largest))


def complete_basis(Q: Tensor, kept: Tensor) -> Tensor:
    """Fill the columns of Q outside ``kept`` so that all columns are orthonormal.

    Each new column is the unit vector that the basis covers least, made orthogonal to
    the basis: deterministic, and independent of rounding in the dropped columns.

    Args:
        Q: shape (d, r) with r <= d, orthonormal in the kept columns.
        kept: boolean mask of shape (r,).

    """
    if bool(kept.all()):
        return Q
    Q = torch.where(kept, Q, torch.zeros_like(Q))
    for j in torch.nonzero(~kept).flatten().tolist():
        unit = torch.zeros_like(Q[:, 0])
        unit[int(torch.argmin((Q * Q).sum(dim=1)))] = 1.0
        rest = _reject(unit, Q)
        Q[:, j] = rest / torch.linalg.vector_norm(rest)
    return Q


def _reject(vector: Tensor, Q: Tensor) -> Tensor:
    """Remove from ``vector`` its part in the span of Q; twice, against rounding."""
    for _ in range(2):
        vector = vector - Q @ (Q.T @ vector)
    return vector
