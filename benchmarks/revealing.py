r"""What gradients of a node tell of its data: class shares, labels, tokens.

Of one step of SGD, or of a control variate (a mean gradient), the bias of the last
layer has mean(p - y): what is least likely to have been seen rises least (Wainakh et
al., PoPETs 2022; for one example Zhao et al., iDLG, 2020). The gradient of A in the
first layer has rows that are sums over tokens of delta_t x_t, x_t being what the layer
gets of token t. Where there are fewer tokens than rows, x_t lies in their span,
and no other token's does (Petrov et al., DAGER, NeurIPS 2024).
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

CLOSE = 1e-3
"""Part of x_t that may lie outside of the span: float32 and its sums leave less."""


def class_shares(rise: Tensor) -> Tensor:
    """Estimate which part of a node's rows each class has.

    The rarest class is taken to have no rows, so that neither the rate nor the number
    of steps has to be known.

    Args:
        rise: change of the bias, or minus a mean gradient of it: shape (classes,).

    """
    above = rise.double() - rise.double().min()
    return above / above.sum()


def counts_of_batch(gradient: Tensor, examples: int) -> Tensor:
    """Count the labels of one batch under a model that knows nothing yet.

    Args:
        gradient: mean gradient of the bias, shape (classes,): 1 / C - n_c / n.
        examples: n.

    """
    shares = 1 / len(gradient) - gradient.double()
    return (examples * shares).round().clamp(min=0).long()


def span(named: Mapping[str, Tensor]) -> Tensor:
    """Orthonormal rows that span the gradients of A in the first layer.

    Args:
        named: gradients or changes, with names as on the wire.

    Returns:
        Shape (rank, width).

    """
    names = [n for n in named if ".layer.0." in n and n.endswith("lora_A")]
    rows = torch.cat([named[name].double() for name in names])
    _, values, basis = torch.linalg.svd(rows, full_matrices=False)
    # Float32 leaves some 1e-8 of the largest in directions that no token has.
    return basis[values > 1e-6 * values[0]]


def inside(x: Tensor, basis: Tensor) -> list[int]:
    """Which rows of x lie in a span; none where much of them does.

    Args:
        x: what the first layer gets of each token at a position, shape (tokens, width).
        basis: from :func:`span`.

    """
    V = basis.to(x.dtype)
    outside = (x - (x @ V.T) @ V).norm(dim=1) / x.norm(dim=1)
    found: list[int] = torch.nonzero(outside < CLOSE).flatten().tolist()
    return found if len(found) <= len(x) // 100 else []


def scores(
    found: Sequence[Sequence[int]],
    true: Sequence[Sequence[int]],
    known: Collection[int] = (),
) -> tuple[float, float]:
    """Recall and precision of (position, token) pairs.

    Args:
        found: by position.
        true: token ids of each row.
        known: ids that every text has, which do not count.

    """
    right = {(t, v) for row in true for t, v in enumerate(row) if v not in known}
    said = {(t, v) for t, row in enumerate(found) for v in row if v not in known}
    hits = len(right & said)
    return hits / len(right), hits / len(said) if said else 0.0


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, 0 where one of them is constant."""
    both = torch.stack([one.double(), other.double()])
    if bool((both.std(dim=1) == 0).any()):
        return 0.0
    return float(torch.corrcoef(both)[0, 1])


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation: half of the sum of absolute differences of shares."""
    return float((one.double() - other.double()).abs().sum() / 2)
