r"""How far products are from their weighted mean, at a cost linear in their number.

Delta_k = B_k A_k - P_k, where many k share one P_k. Lengths of single Delta_k come from
Gram matrices of their own factors, in float64, as what B_k A_k and P_k have in common
cancels. What they have in common with the mean comes from all Gram matrices while rho
is small, and beyond from the mean itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora_app.lora.factors import LoraFactors, Pair
from ilora_app.lora.products import ProductSum, of_layers


def inner_products(parts: Sequence[LoraFactors]) -> Tensor:
    """Frobenius inner products of few products B_i A_i, summed over modules.

    M_ij = sum_modules <B_i A_i, B_j A_j> = sum((B_i^T B_j) * (A_i A_j^T)), from Gram
    matrices of the factors alone. Any combination sum c_i B_i A_i then has the squared
    norm c^T M c. The cost is quadratic in the number of parts.

    Returns:
        M of shape (K, K) in float64.

    """
    M = torch.zeros(len(parts), len(parts), dtype=torch.float64)
    for _, layer in of_layers(parts, [1.0] * len(parts)):
        M += _gram(layer.pairs)
    return M


def squared_norms(
    parts: Sequence[LoraFactors],
    bases: Sequence[LoraFactors] = (),
    base_of: Sequence[int] = (),
) -> Tensor:
    """||Delta_k||_F^2 over all layers together, shape (K,) in float64.

    Args:
        parts: B_k A_k.
        bases: the products that are taken off; none: Delta_k = B_k A_k.
        base_of: k -> index into ``bases`` of P_k.

    """
    found = torch.zeros(len(parts), dtype=torch.float64)
    for module, layer in of_layers(parts, [1.0] * len(parts)):
        taken = [base[module] for base in bases]
        for some, B, A in layer.alike(base_of):
            base = taken[base_of[some[0]]] if taken else None
            found[some] += _lengths(B.double(), A.double(), base).cpu()
    return found.clamp_(min=0)


def squared_changes(
    parts: Sequence[LoraFactors],
    bases: Sequence[LoraFactors],
    base_of: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """||B_k A_k - P_k||_F^2, and ||B_k - B||_F^2 + ||A_k - A||_F^2, over all layers.

    Both in one pass over the factors. What one of B_k and B has columns more than the
    other counts as new in the second where it is in B_k, and not where it is in B.

    Args:
        parts, bases, base_of: as in :func:`squared_norms`, P_k being B A.

    Returns:
        Both of shape (K,), in float64.

    """
    products, tensors = torch.zeros(2, len(parts), dtype=torch.float64)
    for module, layer in of_layers(parts, [1.0] * len(parts)):
        for some, B, A in layer.alike(base_of):
            base = bases[base_of[some[0]]].pairs.get(module)
            B = layer.buffers.double("B in float64", B)
            A = layer.buffers.double("A in float64", A)
            products[some] += _lengths(B, A, base).cpu()
            for M, at, dim in ((B, 0, 2), (A, 1, 1)):
                if base is not None:
                    rank = min(M.shape[dim], base[at].shape[dim - 1])
                    M.narrow(dim, 0, rank).sub_(base[at].narrow(dim - 1, 0, rank))
                moved = torch.linalg.vector_norm(M.flatten(1), dim=1)
                tensors[some] += moved.square().cpu()
    return products.clamp_(min=0), tensors


def spread(
    parts: Sequence[LoraFactors],
    bases: Sequence[LoraFactors],
    base_of: Sequence[int],
    weights: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """||Delta_k||_F^2, and <Delta_k, sum_j w_j Delta_j>, over all layers together.

    Then ||sum_j w_j Delta_j||^2 is the weighted sum of the latter.

    Args:
        parts, bases, base_of: as in :func:`squared_norms`.
        weights: w_k.

    Returns:
        Both of shape (K,), in float64.

    """
    count = len(parts)
    own, common = torch.zeros(2, count, dtype=torch.float64)
    p, index = torch.tensor(weights, dtype=torch.float64), torch.tensor(base_of)
    taken = torch.zeros(len(bases), dtype=torch.float64).index_add_(0, index, p)
    signed = [*weights, *(-taken).tolist()]
    for _, layer in of_layers([*parts, *bases], signed):
        if layer.is_long:
            lengths, with_mean = _against_mean(layer, count, base_of)
        else:
            M = _gram(layer.pairs)
            C = torch.eye(count, len(M), dtype=torch.float64)
            C[torch.arange(count), count + index] = -1.0
            V = C @ M @ C.T  # <Delta_j, Delta_k>, shape (K, K)
            lengths, with_mean = V.diagonal(), V @ p
        own += lengths
        common += with_mean
    return own.clamp_(min=0), common


def _against_mean(
    layer: ProductSum, count: int, base_of: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """What :func:`spread` returns, of one layer, from its mean.

    Args:
        layer: products of clients, then bases; the mean is their sum.
        count: of the former.
        base_of: as there.

    """
    mean, _ = layer.dense()  # (d_out, d_in)
    pairs, bases = layer.pairs[:count], layer.pairs[count:]
    of_base = [((B.T.double() @ mean) * A.double()).sum().cpu() for B, A in bases]
    own, common = torch.zeros(2, count, dtype=torch.float64)
    for some, B, A in ProductSum(pairs, layer.weights).alike(base_of):
        B, A = B.double(), A.double()
        own[some] = _lengths(B, A, bases[base_of[some[0]]]).cpu()
        along = (A.flatten(0, 1) @ mean.T).view(*A.shape[:2], -1)  # (n, r, d_out)
        common[some] = (along.mT * B).sum(dim=(1, 2)).cpu()
    return own, common - torch.stack(of_base)[torch.tensor(base_of)]


def _lengths(B: Tensor, A: Tensor, base: Pair | None) -> Tensor:
    """||B_k A_k - P||_F^2 of n products with one P, (n, d_out, r) and (n, r, d_in)."""
    found = _total((B.mT @ B) * (A @ A.mT))
    if base is not None:
        B_0, A_0 = base[0].double(), base[1].double()
        found -= 2 * _total((B.mT @ B_0) * (A @ A_0.T))
        found += ((B_0.T @ B_0) * (A_0 @ A_0.T)).sum()
    return found


def _gram(pairs: Sequence[Pair]) -> Tensor:
    """<B_i A_i, B_j A_j> of one layer, shape (K, K) in float64."""
    B, A = ProductSum(pairs, [1.0] * len(pairs)).stacked
    gram = ((B.T @ B) * (A @ A.T)).cpu()  # (rho, rho)
    owner = [k for k, (_, A) in enumerate(pairs) for _ in range(A.shape[0])]
    of = torch.nn.functional.one_hot(torch.tensor(owner), len(pairs)).double()
    return of.T @ gram @ of


def _total(values: Tensor) -> Tensor:
    return values.sum(dim=(1, 2))
