"""What Gram matrices of two factors tell of their product: its norm, its directions.

They cost one product of each factor with itself, where a QR of each costs several. The
price are digits: a singular value comes with the rounding of its square.
"""

import torch
from torch import Tensor

_SMALL = 32
"""Gram matrices of so few columns are not split for a norm."""

_FEW = 200
"""Of so small a matrix all eigenvectors come as fast as some."""

SQUARED = 1e-5
"""A singular value of this part of what rounds is known to 1e-6 from its square."""


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


def leading_eigenvectors(square: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Roots of the r largest eigenvalues, the largest first, and their vectors.

    Args:
        square: symmetric, without negative eigenvalues but for rounding; in float64.
        rank: r.

    """
    n = len(square)
    if n < _FEW:
        values, vectors = torch.linalg.eigh(square)
    else:
        from scipy.linalg import eigh  # slow to import

        some = (n - rank, n - 1)
        found = eigh(square.numpy(), subset_by_index=some, check_finite=False)
        values, vectors = (torch.from_numpy(part) for part in found)
    roots = values[-rank:].flip(0).clamp(min=0.0).sqrt()
    return roots, vectors[:, -rank:].flip(1)


def leading_directions(B: Tensor, A: Tensor, rank: int) -> tuple[Tensor, float] | None:
    r"""Left singular vectors of D = B A, the longest first, and ||D||_F^2.

    With A A^T = L L^T, D D^T = (B L)(B L)^T. So L^T B^T B L = V S^2 V^T gives
    U = B L V S^-1.

    Args:
        B: shape (d_out, rho), in float64, not on a GPU.
        A: shape (rho, d_in).
        rank: r < rho.

    Returns:
        U of shape (d_out, r); None where squares drown one of its singular values.

    """
    of_B, of_A = B.T @ B, A @ A.T  # (rho, rho)
    L = _root(of_A)
    S, V = leading_eigenvectors(L.T @ (of_B @ L), rank)
    noise = float((of_B.trace() * of_A.trace()).sqrt())  # ||B||_F ||A||_F
    if not float(S[-1]) > SQUARED * noise:
        return None
    U = torch.linalg.qr(B @ (L @ V / S)).Q
    return U, float((of_B * of_A).sum())


def _root(gram: Tensor) -> Tensor:
    """L with L L^T of a matrix that may be singular: Cholesky with pivots."""
    from scipy.linalg.lapack import dpstrf  # slow to import

    # Pivots are taken while they are positive: what rounding leaves is small in L.
    lower, pivots, rank, _ = dpstrf(gram.numpy().T, tol=0.0, lower=1)
    found = torch.from_numpy(lower).tril()
    found[:, rank:] = 0.0
    L = torch.empty_like(found)
    L[torch.from_numpy(pivots).long() - 1] = found
    return L
