r"""Aggregation from sums of equal shapes, whatever the ranks of the clients.

A server that may see sums alone makes one update of them, as if one client had returned
what all have together, and the method aggregates that.

Means of factors are sums of padded factors. A product D = sum_k p_k D_k, with D_k the
product B_k A_k of a client or its change, comes in two passes: Y = D E with E the first
r columns of the identity; then R = Q^T D, with Q the basis that the method makes of Y.
Its next cut needs no more of D than these: M = Y E^T + Q (R - Q^T Y E^T) has the first
columns of D and its projection on Q, and so the same QR, cut to r.

For a truncated SVD E is Gaussian with 8 columns more, and one power step lies between
(arXiv 0909.4061): Q_1 = orth(D E), Q_2 = orth(D^T Q_1), Q = orth(D Q_2), R = Q^T D;
then Q R is near D's best approximation of rank r. What D is along the tangent space at
the factors that all trained from (``methods.tangent``) is told in one pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ilora_app.lora.bases import leading_basis
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.methods.method import Method
from ilora_app.methods.state import (
    DENSE,
    LEADING,
    MEANS,
    SKETCH,
    TANGENT,
    GlobalState,
    Share,
    Sums,
    Update,
)

MORE_COLUMNS = 8

Matrices = Mapping[str, Tensor]
"""By module."""


@dataclass(frozen=True)
class Sketch:
    """Products of D with thin matrices, pass after pass.

    Attributes:
        sums: what the method needs.
        rank: r.
        seed: of the Gaussian columns.

    """

    sums: Sums
    rank: int
    seed: int

    @property
    def passes(self) -> int:
        """How many sums of products there are, the first with all else that comes."""
        own = {MEANS: 1, DENSE: 1, TANGENT: 2, LEADING: 2, SKETCH: 4}
        return own[self.sums.kind]

    def width(self, shape: tuple[int, int]) -> int:
        """Columns of E for a layer of this shape (d_out, d_in)."""
        more = MORE_COLUMNS if self.sums.kind == SKETCH else 0
        return min(self.rank + more, *shape)

    def numbers(self, shape: tuple[int, int]) -> int:
        """How many tell D of a layer where they have noise, in all passes."""
        if self.sums.kind == DENSE:
            return shape[0] * shape[1]
        w = self.width(shape)
        told = w if self.sums.kind == LEADING else 0  # of Q^T D, by the first pass
        return w * (sum(shape) - told)

    def is_left(self, number: int) -> bool:
        """Whether a pass multiplies from the left: Q^T D, else D E."""
        return number % 2 == 1

    def first(self, terms: Mapping[str, Pair]) -> dict[str, Tensor]:
        """D_k E of one client, of its terms (L, R) with D_k = L R; in float64.

        D_k itself where it is summed densely. Nothing of what is summed along known
        directions, in the pass after.
        """
        if self.sums.kind == TANGENT:
            return {}
        if self.sums.kind == DENSE:
            return {m: L.double() @ R.double() for m, (L, R) in terms.items()}
        found, draw = {}, torch.Generator().manual_seed(self.seed)
        for module in sorted(terms):  # of all clients in one order
            L, R = terms[module]
            width = self.width((L.shape[0], R.shape[1]))
            if self.sums.kind == LEADING:
                found[module] = L.double() @ R[:, :width].double()
                continue
            E = torch.randn(R.shape[1], width, generator=draw, dtype=torch.float64)
            found[module] = L.double() @ (R.double() @ E)
        return found

    def multiply(
        self, number: int, terms: Mapping[str, Pair], by: Matrices
    ) -> dict[str, Tensor]:
        """Q^T D_k or D_k E of one client in a later pass; in float64.

        Args:
            number: of the pass, from 1.
            terms: (L, R) by module.
            by: Q, shape (d_out, w), or E, shape (d_in, w), by module.

        """
        found = {}
        for module, (L, R) in terms.items():
            X, L, R = by[module].double(), L.double(), R.double()
            found[module] = (X.T @ L) @ R if self.is_left(number) else L @ (R @ X)
        return found

    def basis(self, number: int, means: Matrices, error: float) -> dict[str, Tensor]:
        """What a pass of a sketch multiplies by: the basis of the sum before it.

        Args:
            number: of the pass, from 1.
            means: what came of the pass before.
            error: of each of its numbers, at most.

        """
        turned = {m: v if self.is_left(number) else v.T for m, v in means.items()}
        return {m: _clean(v, error)[0] for m, v in turned.items()}


def terms_of(
    sums: Sums, received: LoraFactors, trained: LoraFactors, part: float = 1.0
) -> dict[str, Pair]:
    """(L, R) with L R = P_k + c (B_k A_k - P_k), or without the first P_k, by module.

    Args:
        sums: say which.
        received: of P_k.
        trained: B_k, A_k.
        part: c.

    """
    if not sums.changed and part == 1.0:
        return dict(trained.pairs)
    found = {}
    for module, (B, A) in trained.items():
        P_B, P_A = received[module]
        old = -part if sums.changed else 1.0 - part
        found[module] = (torch.cat([part * B, old * P_B], dim=1), torch.cat([A, P_A]))
    return found


def one_update(
    state: GlobalState,
    head: Mapping[str, Tensor],
    factors: LoraFactors,
    products: bool,
    examples: float = 1.0,
) -> Update:
    """What all clients have returned together, as of one.

    Args:
        state: that they trained from.
        head: its mean.
        factors: their mean; or of the mean of products, or of changes of products,
            which is then counted from zero.
        products: the latter.
        examples: of all.

    """
    start = state.adapter.factors
    if products:
        zeros = {m: (B[:, :1] * 0.0, A[:1] * 0.0) for m, (B, A) in start.items()}
        start = LoraFactors(zeros)
    received = Share(AdapterState(start, state.adapter.head))
    adapter = AdapterState(factors, dict(head))
    rank = factors.rank
    return Update(0, rank, received, adapter, examples, 0.0, 0.0)


def leading_basis_of(
    method: Method, state: GlobalState, head: Mapping[str, Tensor], Y: Matrices
) -> dict[str, Tensor]:
    """Q by module: the basis that the method itself makes of the first columns of D."""
    pairs = {}
    for module, (_, A) in state.adapter.factors.items():
        pairs[module] = (Y[module], _first_rows(Y[module].shape[1], A.shape[1]))
    update = one_update(state, head, LoraFactors(pairs), products=True)
    made = method.advance(state, [update]).state.adapter.factors
    return {module: B for module, (B, _) in made.items()}


def joined(Y: Matrices, Q: Matrices, R: Matrices) -> LoraFactors:
    """Factors of M = Y E^T + Q (R - Q^T Y E^T), rank 2 r, by module."""
    pairs = {}
    for module, basis in Q.items():
        first, basis = Y[module], basis.double()
        E = _first_rows(first.shape[1], R[module].shape[1])
        rest = R[module] - (basis.T @ first) @ E
        pairs[module] = (torch.cat([first, basis], dim=1), torch.cat([E, rest]))
    return LoraFactors(pairs)


def dense(D: Matrices) -> LoraFactors:
    """D as factors of its whole rank, D times the identity, by module."""
    pairs = {}
    for module, value in D.items():
        pairs[module] = (value, _first_rows(value.shape[1], value.shape[1]))
    return LoraFactors(pairs)


def cleaned(Y: Matrices, error: float) -> dict[str, Tensor]:
    """First columns without what is rounding of the sum alone.

    A column that is a combination of those before it stays one: what it has beside
    them is no direction that a client has learned.
    """
    found = {}
    for module, value in Y.items():
        Q, counts = _clean(value, error)
        found[module] = value if bool(counts.all()) else Q @ (Q.T @ value)
    return found


def _clean(M: Tensor, error: float) -> tuple[Tensor, Tensor]:
    """Basis of columns, in which those of the length of the error do not count."""
    length = 4.0 * error * M.shape[0] ** 0.5
    return leading_basis(M, torch.full((M.shape[1],), length, dtype=M.dtype))


def _first_rows(rank: int, columns: int) -> Tensor:
    """E^T: shape (r, d_in)."""
    return torch.eye(rank, columns, dtype=torch.float64)
