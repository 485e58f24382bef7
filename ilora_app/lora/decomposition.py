"""Truncated decompositions of a product D = B A, from whichever is smaller.

With B of shape (d_out, rho) and A of shape (rho, d_in), ``qr`` takes two passes over
the factors, Y = B (A E) with E the first r columns of the identity, and R = (Q^T B) A,
and costs O((d_out + d_in) rho r). The others decompose a core whose smaller side is
rho while rho is at most min(d_out, d_in); beyond, D is the smaller object, and it is
decomposed.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ilora_app.lora.bases import (
    complete_basis,
    leading_basis,
    pivoted_basis,
    signed,
    singular_basis,
)
from ilora_app.lora.factors import LoraFactors
from ilora_app.lora.folding import Norm
from ilora_app.lora.gram import leading_directions
from ilora_app.lora.products import Block, of_layers

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
    if method == "qr":
        return qr_in_two_passes([Block(B, A, B.new_ones(B.shape[1]))], rank)
    B_r, A_r, _ = _short(B, A, rank, method)
    return B_r, A_r


def _short(
    B: Tensor, A: Tensor, rank: int, method: str
) -> tuple[Tensor, Tensor, float]:
    """:func:`truncate_product` of few columns, and the squared norm of D."""
    few = rank < B.shape[1] <= min(B.shape[0], A.shape[1])
    exact = B.dtype == torch.float64 and not B.is_cuda
    if method != "svd" or not (few and exact):
        return _by_core(B, A, rank, method)
    found = leading_directions(B, A, rank)
    if found is None:
        return _by_core(B, A, rank, method)
    basis = signed(found[0])
    return basis, (basis.T @ B) @ A, found[1]


def _by_core(
    B: Tensor, A: Tensor, rank: int, method: str
) -> tuple[Tensor, Tensor, float]:
    """:func:`truncate_product` through a core, which has the norm of D; its square."""
    noise = _ROUNDINGS * torch.finfo(B.dtype).eps * torch.linalg.vector_norm(B)
    roundings = noise * torch.linalg.vector_norm(A)
    reflectors, tau = torch.geqrf(B)  # Q_B, which is not formed: it would cost as much
    R_B = reflectors[: len(tau)].triu()  # (k, rho)
    if method == "svd":
        core = R_B @ torch.linalg.qr(A.T, mode="r").R.T  # (k, l)
        within, kept = singular_basis(core, rank, roundings)
        basis = signed(_reflected(reflectors, tau, within))
    else:
        core = R_B @ A  # has the column lengths of D
        within, kept = pivoted_basis(core, rank, roundings)
        basis = _reflected(reflectors, tau, within)
    B_r, A_r = _projected(basis, kept, (basis.T @ B) @ A)
    return B_r, A_r, float(_squares(core))


def qr_in_two_passes(
    blocks: Iterable[Block], rank: int, also: Callable[[Block], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Unpivoted QR of D = sum_j B_j diag(w_j) A_j, cut to a rank: (Q, Q^T D).

    Args:
        blocks: (B_j, A_j, w_j), the same ones whenever they are gone through.
        rank: r.
        also: is given every block once.

    """
    found: list[Tensor] = []
    for block in blocks:
        B, A, w, _ = block
        leading = A[:, :rank] * w.unsqueeze(1)  # (n, r)
        new = [B @ leading, _squares(B), _squares(leading, dim=0)]
        found = [a + b for a, b in zip(found, new, strict=True)] if found else new
        if also:
            also(block)
    Y, squared, columns = found
    roundings = _ROUNDINGS * torch.finfo(Y.dtype).eps * (squared * columns).sqrt()
    basis, kept = leading_basis(Y, roundings)
    R = torch.zeros(rank, A.shape[1], dtype=Y.dtype, device=Y.device)
    for B, A, w, _ in blocks:
        R.addmm_((basis.T @ B) * w, A)
    return _projected(basis, kept, R)


def truncate_dense(
    D: Tensor, rank: int, method: str, length: float
) -> tuple[Tensor, Tensor]:
    """Cut D as :func:`truncate_product` does, where D is smaller than its factors.

    Args:
        D: shape (d_out, d_in).
        rank: as there.
        method: ``pivoted-qr`` or ``svd``.
        length: of the factors that D was added up from, ||B||_F ||A||_F.

    """
    _check(D, D.T, rank, method)
    roundings = D.new_full((rank,), _ROUNDINGS * torch.finfo(D.dtype).eps * length)
    if method == "svd":
        basis, kept = singular_basis(D, rank, roundings)
        basis = signed(basis)
    else:
        basis, kept = pivoted_basis(D, rank, roundings[0])
    return _projected(basis, kept, basis.T @ D)


def truncate_mean(
    parts: Sequence[LoraFactors], weights: Sequence[float], rank: int, method: str
) -> tuple[LoraFactors, tuple[float, ...]]:
    """Cut D = sum_k p_k B_k A_k to a rank, layer by layer: see ``products``.

    Args:
        parts: factors of any ranks.
        weights: p_k.
        rank: r.
        method: as in :func:`truncate_product`.

    Returns:
        The cut factors in float64, and the part of ||D||_F^2, over all layers together,
        that their first j directions hold, for j = 1..r; under ``qr``, of many
        clients, with what is cut off estimated (``folding.Norm``).

    """
    pairs, kept, total = {}, torch.zeros(rank, dtype=torch.float64), 0.0
    for module, layer in of_layers(parts, weights):
        if method != "qr" and layer.is_long:
            D, length = layer.dense()
            B, A = truncate_dense(D, rank, method, length)
            total += float(torch.linalg.vector_norm(D)) ** 2
        elif method == "qr":
            norm = Norm(module, layer)
            B, A = qr_in_two_passes(layer, rank, norm.add)
            total += norm.squared(B, A)
        else:
            stacked = layer.stacked
            _check(*stacked, rank, method)
            B, A, squared = _short(*stacked, rank, method)
            total += squared
        kept += (A * A).sum(dim=1).cpu()
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


def _projected(basis: Tensor, kept: Tensor, A: Tensor) -> tuple[Tensor, Tensor]:
    """(B_r, A_r) from a basis, which of it counts, and the projection of D onto it."""
    if not bool(kept.all()):
        A[~kept] = 0.0
        basis = complete_basis(basis, kept)
    return basis, A


def _reflected(reflectors: Tensor, tau: Tensor, M: Tensor) -> Tensor:
    """Q M for the Q of a QR as LAPACK keeps it, and M of shape (k, r)."""
    k = len(tau)
    rows = M.new_zeros(len(reflectors), M.shape[1])
    rows[:k] = M
    return torch.ormqr(reflectors[:, :k], tau, rows)


def _squares(M: Tensor, dim: int | None = None) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(M, dim=dim)
    return length.square()


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
