"""Orthonormal projectors of gradients, as the frozen factor of a LoRA pair.

GaLore (arXiv 2403.03507, Section 3) takes Adam's step on the gradient G of a weight of
shape (d_out, d_in) in r dimensions: on G P^T where d_out >= d_in, on P G otherwise,
with P of orthonormal rows, and projects the step back. With one P for a round that is
the pair B A with A = P frozen and B = 0 at first, or B = P^T frozen and A = 0: the
gradient of B is s G A^T, the gradient of A is s B^T G, and G itself is never formed.

P has shape (r, d), d = min(d_out, d_in), the smaller side, whose moments are the larger
ones; its leading rows are the projector of a smaller rank.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair

_RELATIVE = 1e-6
"""Singular values below this part of the largest are noise."""


def is_right(pair: Pair) -> bool:
    """Whether G is projected from the right, so that A is frozen and B trains."""
    B, A = pair
    return B.shape[0] >= A.shape[1]


def frozen(tensors: Mapping[str, Tensor]) -> set[str]:
    """Flat names of the frozen factors among tensors that hold whole pairs."""
    modules = [n.removesuffix(".lora_B") for n in tensors if n.endswith(".lora_B")]
    found = set()
    for module in modules:
        pair = tensors[f"{module}.lora_B"], tensors[f"{module}.lora_A"]
        found.add(f"{module}.lora_A" if is_right(pair) else f"{module}.lora_B")
    return found


def projector(pair: Pair) -> Tensor:
    """P of a pair, shape (r, d)."""
    B, A = pair
    return A if is_right(pair) else B.T


def paired(P: Tensor, like: Pair) -> Pair:
    """The pair that P is frozen in, with zeros in the factor that trains."""
    B, A = like
    right = is_right(like)
    return (torch.zeros_like(B), P.to(A)) if right else (P.T.to(B), torch.zeros_like(A))


def random_projectors(factors: LoraFactors) -> LoraFactors:
    """Projectors from random factors A; the identity where r >= d.

    Raises:
        ValueError: the rows of an A are not independent.

    """
    found = {}
    for module, pair in factors.items():
        A = pair[1]
        rank, side = A.shape[0], min(pair[0].shape[0], A.shape[1])
        if rank >= side:
            P = torch.eye(rank, side)
        else:
            Q, R = torch.linalg.qr(A[:, :side].T.double())  # (d, r), (r, r)
            if not bool((R.diagonal().abs() > _RELATIVE * R.abs().max()).all()):
                raise ValueError(f"{module}: the rows of A are not independent")
            P = (Q * R.diagonal().sign()).T  # (r, d)
        found[module] = paired(P.float(), pair)
    return LoraFactors(found)


def refreshed(P: Tensor, sketch: Tensor, generator: torch.Generator) -> Tensor:
    r"""The leading right singular vectors of a sketch, completed by random ones.

    With the sketch S = sum_j M_j^T G_j, the gradients G_j of a round seen through what
    it had learned by then, M_j, that is a step of subspace iteration on the Gram matrix
    of G: M is about -eta sum G P^T, so S is about -eta P G^T G. After a single local
    step nothing has been learned, S is zero, and all directions are drawn anew.

    Args:
        P: so far, shape (r, d).
        sketch: shape (n, d).
        generator: of the random directions.

    Returns:
        Shape (r, d), in float32; P itself where r >= d.

    """
    rank, side = P.shape
    if rank >= side:
        return P
    _, S, V = torch.linalg.svd(sketch.double(), full_matrices=False)
    found: Tensor = V[: int((_RELATIVE * S[0] < S).sum())][:rank]
    missing = rank - found.shape[0]
    if missing:
        drawn = torch.randn(missing, side, generator=generator, dtype=torch.float64)
        drawn = drawn - drawn @ found.T @ found
        found = torch.cat([found, torch.linalg.qr(drawn.T)[0].T])
    return found.float()


def turned_moment(moment: Tensor, before: Tensor, after: Tensor) -> Tensor:
    r"""Second moments v of the factor that trains, under another projector.

    With O = P_after P_before^T and entries of the gradient that are uncorrelated, the
    part of a new direction i that lies in the old ones has sum_j O_ij^2 v_j; for the
    part outside, of which nothing is known, the mean of the old ones stands [choice]:
    zeros would let the first steps run off.

    Args:
        moment: one column a row of P: shape (d_out, r), or (d_in, r).
        before: P so far, shape (r, d).
        after: P from now on, shape (r, d).

    """
    O2 = (after.double() @ before.double().T).square()  # (r, r), new by old
    outside = (1.0 - O2.sum(dim=1)).clamp(min=0.0)
    v = moment.double()
    found = v @ O2.T + v.mean(dim=1, keepdim=True) * outside
    return found.to(moment.dtype)
