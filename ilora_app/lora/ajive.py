r"""The part of several matrices that they share: angle-based joint variation.

AJIVE (Feng, Jiang, Hannig and Marron 2018, Journal of Multivariate Analysis 166,
arXiv 1704.02060). Blocks X_k of shape (n, d_k) share their rows. A direction of R^n is
joint when the signal spaces of all blocks hold it, up to the angle that noise explains.
FedGaLore (arXiv 2602.01746) takes the joint part of its clients' second moments.

Nothing of shape (n, n) or (d_k, d_k) is formed: all goes through thin SVDs and Gram
matrices of side rho = sum_k r_k. Columns are not centred.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ilora_app.lora.random_frames import largest_squares, leaks

# Directions whose squared cosines differ by less than this are one direction.
_SAME = 1e-10
_SIGNAL = 0.9


@dataclass(frozen=True)
class Joint:
    """The joint directions of K blocks, and what they were judged by.

    Attributes:
        basis: U_J, orthonormal, shape (n, rank), in float64.
        rank: how many directions are joint.
        squared: squared singular values of M, the largest first, each in [0, K];
            shape (min(n, rho),).
        wedin: what a direction shared by all but for noise exceeds.
        random: what directions without any relation stay below.

    """

    basis: Tensor
    rank: int
    squared: Tensor
    wedin: float
    random: float


def joint_basis(
    blocks: Sequence[Tensor], ranks: Sequence[int], seed: int, draws: int = 100
) -> Joint:
    r"""Find the directions that the signal spaces of all blocks share.

    X_k ~ U_k S_k V_k^T at rank r_k; M = [U_1 ... U_K] = U_M S_M V_M^T. U_J holds the
    u_i of U_M with s_i^2 > max(w, q) whose length in every block, ||X_k^T u_i||, is at
    least halfway between the r_k-th singular value of X_k and the next. The bounds are

    - w, the 5th percentile of K - sum_k e_k^2 with e_k = max(||X_k^T U*||,
      ||X_k V*||) / s_{k,r_k} <= 1, U* and V* random frames of r_k columns orthogonal to
      U_k and V_k (of as many as there is room for, where that is fewer);
    - q, the 95th percentile of the largest s_i^2 for random signal spaces.

    Not in the paper [choice]: s_i^2 = K counts as joint whatever the bounds, since
    without noise w is K itself; r_k is cut to the numerical rank of X_k; and where a
    block is all zero nothing is joint. Hence the joint space of a single block is its
    signal space. The order of the blocks does not change what is drawn.

    Args:
        blocks: X_k, shape (n, d_k), in any dtype; computed in float64 on the CPU.
        ranks: signal ranks r_k, each between 1 and min(n, d_k).
        seed: of the draws; no global generator is read or moved.
        draws: for each of the two bounds.

    Raises:
        ValueError: no blocks, shapes or ranks that do not fit, numbers that are not
            finite, or no draws.

    Source: Feng et al. 2018, Sections 2.2 to 2.4 and Lemma 3.

    """
    _check(blocks, ranks, draws)
    n, K = len(blocks[0]), len(blocks)
    cuts = [_cut(X, r) for X, r in zip(blocks, ranks, strict=True)]
    if any(cut.rank == 0 for cut in cuts):
        empty = torch.zeros(n, 0, dtype=torch.float64)
        return Joint(empty, 0, empty[0], float(K), float(K))
    # Sorted by all that the draws depend on.
    cuts.sort(key=lambda cut: (cut.rank, cut.X.shape[1], cut.values.tolist()))
    generator = torch.Generator().manual_seed(seed)
    wedin = _wedin(cuts, draws, generator)
    largest = largest_squares(n, [cut.rank for cut in cuts], draws, generator)
    random = float(largest.quantile(0.95))
    M = torch.cat([cut.U for cut in cuts], dim=1)  # (n, rho)
    squares, V = torch.linalg.eigh(M.T @ M)
    squared = squares.flip(0)[: min(M.shape)].clamp(0.0, K)
    cutoff = min(max(wedin, random), K * (1.0 - _SAME))
    count = int((squared > cutoff).sum())
    # One block's random space has s = 1, so no cutoff is below 1 - _SAME.
    basis = (M @ V.flip(1)[:, :count]) / squared[:count].sqrt()
    kept = torch.ones(count, dtype=torch.bool)
    for cut in cuts:
        kept &= torch.linalg.vector_norm(cut.X.T @ basis, dim=0) >= cut.threshold
    basis = basis[:, kept]
    return Joint(basis, basis.shape[1], squared, wedin, random)


def joint_parts(blocks: Sequence[Tensor], joint: Joint) -> list[Tensor]:
    """Project every block on the joint space: J_k = U_J U_J^T X_k.

    Args:
        blocks: X_k, shape (n, d_k).
        joint: of :func:`joint_basis`.

    Returns:
        J_k of shape (n, d_k), in float64.

    Raises:
        ValueError: a block that has not the rows of the basis.

    Source: Feng et al. 2018, Section 2.4.

    """
    U = joint.basis
    if any(X.ndim != 2 or len(X) != len(U) for X in blocks):
        raise ValueError(f"every block must be a matrix of {len(U)} rows, as the basis")
    return [U @ (U.T @ _wide(X)) for X in blocks]


def shared_moment(
    moments: Sequence[Tensor], weights: Sequence[float], seed: int
) -> Tensor:
    """Mean of the joint parts of clients' second moments: max(0, sum_k p_k J_k).

    J_k is padded with zero columns to the widest. [choice] The signal rank of a moment
    is the smallest that keeps 90 % of its squared Frobenius norm, at least 1. A single
    client's moment is cut to that rank. Where nothing is joint the result is zero, and
    no optimiser should divide by its root: this is to be expected where m is far above
    r_k, as the bound w of :func:`joint_basis` is then close to K.

    Args:
        moments: v_k, shape (m, r_k).
        weights: p_k, none negative.
        seed: of the bounds.

    Returns:
        Shape (m, max_k r_k), in the dtype of the first moment, on the CPU.

    Raises:
        ValueError: as :func:`joint_basis`, or weights that do not fit.

    Source: arXiv 2602.01746, server synchronisation of projected second moments.

    """
    if len(weights) != len(moments):
        raise ValueError(f"{len(moments)} moments need as many weights: {len(weights)}")
    if not all(0.0 <= p < float("inf") for p in weights):
        raise ValueError(f"weights must be finite and none negative: {list(weights)}")
    _check(moments, [1] * len(moments), 1)
    joint = joint_basis(moments, [_signal_rank(v) for v in moments], seed)
    shape = (len(moments[0]), max(v.shape[1] for v in moments))
    total = torch.zeros(shape, dtype=torch.float64)
    for p, J in zip(weights, joint_parts(moments, joint), strict=True):
        total[:, : J.shape[1]] += p * J
    return total.clamp(min=0.0).to(moments[0].dtype)


@dataclass(frozen=True)
class _Cut:
    """A block with its signal space U, all its singular values, and their number."""

    X: Tensor
    U: Tensor
    values: Tensor
    rank: int

    @property
    def threshold(self) -> Tensor:
        """Length halfway between signal and rest."""
        ends = torch.nn.functional.pad(self.values, (0, 1))[self.rank - 1 :][:2]
        return ends.mean() * (1.0 - _SAME)


def _cut(block: Tensor, rank: int) -> _Cut:
    X = _wide(block)
    U, values, _ = torch.linalg.svd(X, full_matrices=False)
    # Directions of rounding alone are arbitrary, and would differ between equals.
    noise = max(X.shape) * torch.finfo(X.dtype).eps * values[0]
    rank = min(rank, int((values > noise).sum()))
    return _Cut(X, U[:, :rank], values, rank)


def _signal_rank(moment: Tensor) -> int:
    energy = torch.linalg.svdvals(_wide(moment)).square().cumsum(0)
    return min(int((energy < _SIGNAL * energy[-1]).sum()) + 1, len(energy))


def _wedin(cuts: Sequence[_Cut], draws: int, generator: torch.Generator) -> float:
    """5th percentile of K - sum_k e_k^2."""
    total = torch.full((draws,), float(len(cuts)), dtype=torch.float64)
    for cut in cuts:
        rows, columns = (
            leaks(cut.values[cut.rank :], cut.rank, side - cut.rank, draws, generator)
            for side in cut.X.shape
        )
        angle = torch.maximum(rows, columns) / cut.values[cut.rank - 1]
        total -= angle.square()
    return float(total.quantile(0.05))


def _wide(X: Tensor) -> Tensor:
    return X.detach().to("cpu", torch.float64)


def _check(blocks: Sequence[Tensor], ranks: Sequence[int], draws: int) -> None:
    if not blocks or len(ranks) != len(blocks):
        raise ValueError(f"{len(blocks)} blocks, one at least, and {len(ranks)} ranks")
    shapes = [tuple(X.shape) for X in blocks]
    if any(X.ndim != 2 or len(X) != len(blocks[0]) for X in blocks):
        raise ValueError(f"blocks must be matrices of one number of rows: {shapes}")
    for rank, shape in zip(ranks, shapes, strict=True):
        if not 1 <= rank <= min(shape):
            raise ValueError(
                f"rank {rank} is outside 1..{min(shape)} for a block of shape {shape}"
            )
    for k, X in enumerate(blocks):
        if not bool(X.isfinite().all()):
            raise ValueError(f"block {k} holds numbers that are not finite")
    if draws < 1:
        raise ValueError(f"the bounds need one draw at least, not {draws}")
