"""What every strategy must compute, densely and in float64, and what it may send.

An oracle takes the history of a run, one list of clients a round, and gives the global
model (W - W0) / s after the last round from the clients' own dense models.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from ilora_app.lora.initialisation import qr_directions
from ilora_app.methods import METHODS
from ilora_app.strategies import LoraStrategy
from tests.aligned_oracles import nearest_direction, product_of_turned
from tests.means import History, mean, padded
from tests.quadratic import HEAD, Dense, Problem, Taken, weights
from tests.update_oracles import (
    learned,
    learned_by_products,
    learned_by_svd,
    learned_from_zero,
    products_by_svd,
)

Oracle = Callable[[Problem, History], Dense]


def mean_of_models(problem: Problem, history: History) -> Dense:
    return mean(history[-1], Taken.model)


def product_of_means(problem: Problem, taken: list[Taken], by=None) -> Dense:
    r = max(problem.ranks)
    return {
        m: padded(taken, 0, m, r, by) @ padded(taken, 1, m, r, by) for m in problem.W0
    }


def mean_and_cross_terms(problem: Problem, history: History) -> Dense:
    """D + sum_{j != k} p_j p_k (B_j A_k - B_k A_k), with the prefixes that pair up."""
    taken = history[-1]
    found = mean(taken, Taken.model)
    p = weights(taken)
    for m in found:
        for j, one in enumerate(taken):
            for k, other in enumerate(taken):
                B_j, (B_k, A_k) = one.sent.factors[m][0], other.sent.factors[m]
                r = min(B_j.shape[1], len(A_k))
                mixed = B_j[:, :r].double() @ A_k[:r].double()
                own = B_k.double() @ A_k.double()
                if j != k:
                    found[m] = found[m] + p[j] * p[k] * (mixed - own)
    return found


def means_without_the_start(
    problem: Problem, history: History, rank: int | None = None
) -> Dense:
    """B A of the means, less Q diag(h^2) R: h is what the means left of each index.

    At a rank, of the first so many directions.
    """
    directions = qr_directions(problem.W0.items(), max(problem.ranks))
    left = torch.ones(max(problem.ranks)).double()
    for taken in filter(None, history):
        for j in range(len(left)):
            holders = zip(weights(taken), taken, strict=True)
            left[j] *= sum(p for p, t in holders if t.rank > j)
    r, found = max(problem.ranks), {}
    for m, (Q, R) in directions.items():
        B, A = (padded(history[-1], side, m, r) for side in (0, 1))
        start = (Q.double() * left**2)[:, :rank] @ R.double()[:rank]
        found[m] = B[:, :rank] @ A[:rank] - start
    return found


def norms(taken: list[Taken]) -> list[float]:
    """||B_k A_k||_F over all layers, as weights that sum to one."""
    squares = [sum(float((P**2).sum()) for P in t.product().values()) for t in taken]
    roots = [square**0.5 for square in squares]
    return [root / sum(roots) for root in roots]


def norm_weighted(problem: Problem, history: History) -> Dense:
    return product_of_means(problem, history[-1], norms(history[-1]))


def first_columns(problem: Problem, history: History) -> Dense:
    """D on the span of its first r_max columns, less the mean of what was taken out."""
    taken, found = history[-1], {}
    out = mean(taken, lambda t: t.offset)
    for m, D in mean(taken, Taken.product).items():
        Q = torch.linalg.qr(D[:, : max(problem.ranks)]).Q
        found[m] = Q @ Q.T @ D - out[m]
    return found


def best_of_rank(problem: Problem, history: History, rank: int | None = None) -> Dense:
    found, r = {}, rank or max(problem.ranks)
    for m, D in mean(history[-1], Taken.product).items():
        U, S, V = torch.linalg.svd(D, full_matrices=False)
        found[m] = (U[:, :r] * S[:r]) @ V[:r]
    return found


def best_of_segments(
    problem: Problem, history: History, rank: int | None = None
) -> Dense:
    """Each direction averaged over the clients that hold it, then cut."""
    taken, found, r = history[-1], {}, rank or max(problem.ranks)
    for m in problem.W0:
        D = torch.zeros(problem.shapes[m]).double()
        for j in range(max(t.rank for t in taken)):
            holders = [t for t in taken if t.rank > j]
            for p, t in zip(weights(holders), holders, strict=True):
                B, A = (x.double() for x in t.sent.factors[m])
                D = D + p * torch.outer(B[:, j], A[j])
        U, S, V = torch.linalg.svd(D, full_matrices=False)
        found[m] = (U[:, :r] * S[:r]) @ V[:r]
    return found


def unchanged(problem: Problem, history: History) -> Dense:
    return {m: torch.zeros(s).double() for m, s in problem.shapes.items()}


def full_weights(problem: Problem, history: History) -> Dense:
    def change(t: Taken) -> Dense:
        return {m: (t.sent.head[m].double() - W) / 2 for m, W in problem.W0.items()}

    return mean(history[-1], change)


@dataclass(frozen=True)
class Row:
    """One strategy in the shared table.

    Attributes:
        exact: the global model is the mean of the clients' models, uncut.
        tolerance: relative to ||D|| + ||O||, of the size of what is computed.
        alone: a client that is alone has the global model; not where the increment of
            a round, whose rank is twice that of the factors, is cut.

    """

    name: str
    oracle: Oracle
    settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""
    exact: bool = False
    tolerance: float = 1e-6
    alone: bool = True

    def make(self, **common: Any) -> LoraStrategy:
        method = METHODS[self.name](**self.settings)
        return LoraStrategy(method, **common)

    def __str__(self) -> str:
        return self.label or self.name


PUBLISHED = {"cut": "product", "aggregate": "products", "decomposition": "qr"}
MERGE, QR = PUBLISHED | {"residual": "merge"}, {"qr_start": True}
UPDATE = {"aggregate": "increments", "residual": "drop", "decomposition": "qr"} | QR
SVD = {"decomposition": "svd"}
OF_PRODUCTS = {"aggregate": "products"} | QR
TABLE = [
    Row("ilora", first_columns, PUBLISHED),
    Row("ilora", learned_from_zero, {}, "ilora-default", tolerance=1e-5, alone=False),
    Row(
        "ilora",
        products_by_svd,
        OF_PRODUCTS,
        "ilora-products-svd",
        tolerance=1e-5,
        alone=False,
    ),
    Row(
        "ilora",
        learned_by_products,
        OF_PRODUCTS | {"decomposition": "qr"},
        "ilora-products",
        tolerance=1e-5,
        alone=False,
    ),
    Row("ilora", mean_of_models, MERGE, "ilora-merge", exact=True),
    Row(
        "ilora",
        best_of_rank,
        PUBLISHED | SVD | {"qr_start": False},
        "ilora-svd",
    ),
    Row("ilora", learned, UPDATE, "ilora-update", tolerance=1e-5, alone=False),
    Row(
        "ilora",
        learned_by_svd,
        UPDATE | SVD,
        "ilora-update-svd",
        tolerance=1e-5,
        alone=False,
    ),
    Row(
        "ilora",
        learned_by_svd,
        UPDATE | SVD | {"residual": "send"},
        "ilora-send",
        tolerance=1e-5,
        alone=False,
    ),
    Row("fedit", mean_and_cross_terms),
    Row("fedit", means_without_the_start, QR, "fedit-qr"),
    Row("flora", mean_of_models, exact=True),
    Row("ffa-lora", mean_of_models, exact=True),
    Row("lora-fair", nearest_direction, tolerance=1e-5),
    Row("hetlora", norm_weighted),
    Row("flexlora", best_of_rank),
    Row("fedex-lora", mean_of_models, exact=True),
    Row("rolora", mean_of_models, exact=True),
    Row("fedsa-lora", unchanged),
    Row("lora-a2", mean_of_models, exact=True),
    Row("raflora", best_of_segments),
    Row("fedrot-lora", product_of_turned),
    Row("fedgalore", mean_of_models, exact=True),
    Row("centralized", mean_of_models, exact=True),
    Row("local", unchanged),
    Row("fedavg-full", full_weights, exact=True),
]


def expected(row: Row, problem: Problem, history: History) -> Dense:
    """The oracle's model and head after the last round."""
    found = row.oracle(problem, history)
    head = mean(history[-1], lambda t: {HEAD: t.sent.head[HEAD].double()})
    return found | ({HEAD: torch.zeros(3, 5).double()} if row.name == "local" else head)


def size(history: History, module: str) -> float:
    """Length of the numbers behind a layer of the model."""
    if module == HEAD:
        return 1.0
    parts = [
        float(x[module].norm())
        for t in history[-1]
        for x in (t.product(), t.offset, t.base)
        if module in x
    ]
    return max(1e-3, *parts) if parts else 1.0
