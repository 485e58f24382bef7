r"""What clients change along the factors that all of them trained from.

To first order a client changes B A by dB A + B dA. With E and Q orthonormal bases of
the rows of A and of the columns of B, both known before, all of that is in

    P(D) = D E E^T + Q Q^T D (I - E E^T),

the projection of its change D on the tangent space at B A of the matrices of rank r. So
Y = D E and W = Q^T D (I - E E^T) tell it: r (d_out + d_in) numbers, linear in the
clients, in one pass, with ||Y||^2 + ||W||^2 = ||P(D)||^2 <= ||D||^2. Left out is dB dA.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora_app.lora.bases import leading_basis
from ilora_app.lora.factors import LoraFactors, Pair

COLUMNS, ROWS = ".columns", ".rows"
Directions = Mapping[str, Pair]
"""(E, Q) by module, shapes (d_in, r) and (d_out, r), in float64."""


def directions_of(factors: LoraFactors) -> dict[str, Pair]:
    """E and Q of (B, A), with zero columns where these have fewer directions."""
    found = {}
    for module, (B, A) in factors.items():
        found[module] = (_basis(A.T), _basis(B))
    return found


def along(terms: Mapping[str, Pair], directions: Directions) -> dict[str, Tensor]:
    """Y and W of one client, ``<module>.columns`` and ``<module>.rows``.

    Args:
        terms: (L, R) by module, with D = L R.
        directions: (E, Q) by module. ||Y||^2 + ||W||^2 <= ||D||^2 also where E and Q
            are not orthonormal, but have no singular value above 1.

    """
    columns, rows = {}, {}
    for module, (L, R) in terms.items():
        (E, Q), L, R = directions[module], L.double(), R.double()
        columns[module + COLUMNS] = L @ (R @ E)
        rows[module + ROWS] = _without((Q.T @ L) @ R, E)
    return columns | rows


def shapes(factors: LoraFactors) -> dict[str, tuple[int, ...]]:
    """Of what :func:`along` makes of (B, A)."""
    columns = {m + COLUMNS: tuple(B.shape) for m, (B, _) in factors.items()}
    return columns | {m + ROWS: tuple(A.shape) for m, (_, A) in factors.items()}


def joined(found: Mapping[str, Tensor], directions: Directions) -> LoraFactors:
    """P(D) as ([Y, Q], [E^T; W]), rank 2 r, by module.

    Noise on W is taken off where Y has told D, so that it is not counted twice.
    """
    pairs = {}
    for module, (E, Q) in directions.items():
        W = _without(found[module + ROWS], E)
        left = torch.cat([found[module + COLUMNS], Q], dim=1)  # (d_out, 2 r)
        pairs[module] = (left, torch.cat([E.T, W]))  # (2 r, d_in)
    return LoraFactors(pairs)


def named(directions: Directions) -> dict[str, Tensor]:
    """E and Q under the names of what they make."""
    columns = {module + COLUMNS: E for module, (E, _) in directions.items()}
    return columns | {module + ROWS: Q for module, (_, Q) in directions.items()}


def _without(rows: Tensor, E: Tensor) -> Tensor:
    """Rows (I - E E^T)."""
    return rows - (rows @ E) @ E.T


def _basis(M: Tensor) -> Tensor:
    M = M.double()
    length = torch.finfo(torch.float32).eps * torch.linalg.vector_norm(M)
    return leading_basis(M, length.expand(M.shape[1]))[0]
