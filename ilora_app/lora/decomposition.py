"""Truncated decompositions of a factored product D = B A that never form D.

With B of shape (d_out, rho) and A of shape (rho, d_in), every method costs
O((d_out + d_in) rho r) or a decomposition of a core whose smaller side is rho; the
largest array made is as large as the factors themselves.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, stack

DECOMPOSITIONS = ("qr", "pivoted-qr", "svd")

# A direction counts as zero when its length is below this many roundings of the
# numbers it was computed from.
_ROUNDINGS = 64.0


def truncate_product(
    B: Tensor, A: Tensor, rank: int, method: str = "qr"
) -> tuple[Tensor, Tensor]:
    r"""Cut the product D = B A to rank ``rank`` without forming D.

    Every method chooses orthonormal columns for B_r and projects D onto them,
    A_r = B_r^T D; the first j columns and rows of the result are the cut to rank j.

    - ``qr``: unpivoted QR with a positive diagonal; the projection of D onto the span
      of its first ``rank`` columns (ILoRA, arXiv 2511.16069, concatenated QR).
    - ``pivoted-qr``: columns of D taken greedily by what they add.
    - ``svd``: the best approximation of that rank (Eckart-Young).

    Where D has no further direction to offer (zero or dependent columns, or ``rank``
    above the rank of D), the rows of A_r are exactly zero and the columns of B_r
    complete the orthonormal basis, so that training can still use them.

    Args:
        B: shape (d_out, rho).
        A: shape (rho, d_in).
        rank: r, between 1 and min(d_out, d_in).
        method: ``qr``, ``pivoted-qr`` or ``svd``.

    Returns:
        B_r of shape (d_out, r) and A_r of shape (r, d_in), in the dtype given.

    Raises:
        ValueError: shapes that do not fit, a rank outside its range, or a method
            that is not one of the three.

    """
    _check(B, A, rank, method)
    if method == "svd":
        basis, kept = _singular_basis(B, A, rank)
    elif method == "pivoted-qr":
        basis, kept = _pivoted_basis(B, A, rank)
    else:
        leading = A[:, :rank]  # (rho, r)
        roundings = _noise(B) * torch.linalg.vector_norm(leading, dim=0)
        basis, kept = leading_basis(B @ leading, roundings)
    A_r = (basis.T @ B) @ A  # (r, d_in)
    A_r[~kept] = 0.0
    return complete_basis(basis, kept), A_r


def truncate_mean(
    parts: Sequence[LoraFactors], weights: Sequence[float], rank: int, method: str
) -> tuple[LoraFactors, tuple[float, ...]]:
    """Cut D = sum_k p_k B_k A_k to a rank, layer by layer, without forming it.

    Args:
        parts: factors of any ranks.
        weights: p_k.
        rank: r.
        method: as in :func:`truncate_product`.

    Returns:
        The cut factors in float64, and the part of ||D||_F^2, over all layers together,
        that their first j directions hold, for j = 1..r.

    """
    pairs, kept, total = {}, torch.zeros(rank, dtype=torch.float64), 0.0
    wide = [part.to(torch.float64) for part in parts]
    for module, (B_c, A_c) in stack(wide, weights).items():
        B, A = truncate_product(B_c, A_c, rank, method)
        kept += (A * A).sum(dim=1).cpu()
        total += float(((B_c.T @ B_c) * (A_c @ A_c.T)).sum())
        pairs[module] = (B, A)
    energy = kept.cumsum(0) / total if total > 0 else torch.ones_like(kept)
    return LoraFactors(pairs), tuple(energy.tolist())


def singular_values(B: Tensor, A: Tensor) -> Tensor:
    """Singular values of B A, the largest first, through the core R_B R_A^T.

    Args:
        B: shape (d_out, rho).
        A: shape (rho, d_in).

    Returns:
        Shape (min(d_out, rho, d_in),), in float64.

    """
    R_B = torch.linalg.qr(B.double(), mode="r").R  # (k, rho)
    R_A = torch.linalg.qr(A.double().T, mode="r").R  # (l, rho)
    values: Tensor = torch.linalg.svdvals(R_B @ R_A.T)
    return values


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


def complete_basis(Q: Tensor, kept: Tensor) -> Tensor:
    """Fill the columns of Q outside ``kept`` so that all columns are orthonormal.

    Each new column is the unit vector that the basis covers least, made orthogonal to
    the basis: deterministic, and independent of rounding in the dropped columns.

    Args:
        Q: shape (d, r) with r <= d, orthonormal in the kept columns.
        kept: boolean mask of shape (r,).

    """
    Q = torch.where(kept, Q, torch.zeros_like(Q))
    for j in torch.nonzero(~kept).flatten().tolist():
        unit = torch.zeros_like(Q[:, 0])
        unit[int(torch.argmin((Q * Q).sum(dim=1)))] = 1.0
        rest = _reject(unit, Q)
        Q[:, j] = rest / torch.linalg.vector_norm(rest)
    return Q


def _pivoted_basis(B: Tensor, A: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Column-pivoted QR of D through the core R_B A, which has D's column lengths."""
    Q_B, R_B = torch.linalg.qr(B)  # (d_out, k), (k, rho)
    rest = R_B @ A  # (k, d_in)
    roundings = _noise(B) * torch.linalg.vector_norm(A)
    core = torch.zeros(rest.shape[0], rank, dtype=B.dtype, device=B.device)
    for j in range(min(rank, rest.shape[0])):
        pivot = int(torch.argmax((rest * rest).sum(dim=0)))
        column = _reject(rest[:, pivot], core[:, :j])
        length = torch.linalg.vector_norm(column)
        if length <= roundings:
            break
        core[:, j] = column / length
        rest -= torch.outer(core[:, j], core[:, j] @ rest)
    return Q_B @ core, core.any(dim=0)


def _singular_basis(B: Tensor, A: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Left singular vectors of D through the core R_B R_A^T, signs fixed."""
    Q_B, R_B = torch.linalg.qr(B)  # (d_out, k), (k, rho)
    R_A = torch.linalg.qr(A.T, mode="r").R  # (l, rho)
    U, S, _ = torch.linalg.svd(R_B @ R_A.T, full_matrices=False)
    basis = (Q_B @ U)[:, :rank]
    largest = basis.abs().argmax(dim=0, keepdim=True)
    basis = basis * torch.sign(basis.gather(0, largest))
    kept = S[:rank] > _noise(B) * torch.linalg.vector_norm(A)
    missing = rank - basis.shape[1]
    return (
        torch.nn.functional.pad(basis, (0, missing)),
        torch.nn.functional.pad(kept, (0, missing)),
    )


def _reject(vector: Tensor, Q: Tensor) -> Tensor:
    """Remove from ``vector`` its part in the span of Q; twice, against rounding."""
    for _ in range(2):
        vector = vector - Q @ (Q.T @ vector)
    return vector


def _noise(B: Tensor) -> Tensor:
    """Rounding left in a product B a, in units of the length of a."""
    length: Tensor = torch.linalg.vector_norm(B)
    return _ROUNDINGS * torch.finfo(B.dtype).eps * length


def _check(B: Tensor, A: Tensor, rank: int, method: str) -> None:
    if method not in DECOMPOSITIONS:
        raise ValueError(
            f"decomposition {method!r} is unknown: use one of "
            + ", ".join(DECOMPOSITIONS)
        )
    if B.ndim != 2 or A.ndim != 2 or B.shape[1] != A.shape[0]:
        raise ValueError(
            "B must be (d_out, rho) and A (rho, d_in) with one rho, got "
            f"{tuple(B.shape)} and {tuple(A.shape)}"
        )
    limit = min(B.shape[0], A.shape[1])
    if not 1 <= rank <= limit:
        raise ValueError(
            f"rank {rank} is outside 1..{limit} for a product of shape "
            f"({B.shape[0]}, {A.shape[1]})"
        )
