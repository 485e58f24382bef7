"""What every strategy must compute, densely and in float64, and what it may send.

An oracle takes the history of a run, one list of clients a round, and gives the global
model (W - W0) / s after the last round from the clients' own dense models.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from ilora_app.lora.initialisation import qr_directions
from ilora_app.methods import METHODS
from ilora_app.strategies import LoraStrategy
from tests.quadratic import HEAD, Dense, Problem, Taken, weights
from tests.update_oracles import learned, learned_by_svd

History = list[list[Taken]]
Oracle = Callable[[Problem, History], Dense]


def mean(taken: list[Taken], of: Callable[[Taken], Dense]) -> Dense:
    pairs = list(zip(weights(taken), map(of, taken), strict=True))
    return {m: sum(p * value[m] for p, value in pairs) for m in pairs[0][1]}


def mean_of_models(problem: Problem, history: History) -> Dense:
    return mean(history[-1], Taken.model)


def padded(taken: list[Taken], side: int, module: str, rank: int, by=None) -> Tensor:
    """Sum of one factor, index by index over the clients that hold the index."""
    total = torch.zeros(())
    for t, weight in zip(taken, by or weights(taken), strict=True):
        value = t.sent.factors[module][side].double()
        value = value if side else value.T
        grown = torch.zeros(rank, value.shape[1]).double()
        grown[: len(value)] = value
        total = total + weight * grown
    return total if side else total.T


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


def turned_factors(problem: Problem, taken: list[Taken]) -> dict[str, list[Tensor]]:
    """Means of B R and R^T A, with the R of scipy's orthogonal Procrustes."""
    found, r = {}, max(problem.ranks)
    for m, (d_out, d_in) in problem.shapes.items():
        B_mean, A_mean = torch.zeros(d_out, r).double(), torch.zeros(r, d_in).double()
        for p, t in zip(weights(taken), taken, strict=True):
            B, A = (x.double() for x in t.sent.factors[m])
            near = t.start.factors[m][1].double()
            R = torch.from_numpy(orthogonal_procrustes(A.T.numpy(), near.T.numpy())[0])
            B_mean[:, : t.rank] += p * B @ R
            A_mean[: t.rank] += p * R.T @ A
        found[m] = [B_mean, A_mean]
    return found


def product_of_turned(
    problem: Problem, history: History, rank: int | None = None
) -> Dense:
    pairs = turned_factors(problem, history[-1])
    return {m: B[:, :rank] @ A[:rank] for m, (B, A) in pairs.items()}


def nearest_direction(problem: Problem, history: History) -> Dense:
    return {m: B @ A for m, (B, A) in nearest_factors(problem, history).items()}


def nearest_factors(
    problem: Problem, history: History
) -> dict[str, tuple[Tensor, Tensor]]:
    """Minimise 1 - cos(D, (B + dB) A) + lambda ||dB||^2 over dB by LBFGS, densely.

    Under unequal ranks the product then gets the length of D.
    """
    taken, found = history[-1], {}
    for m, D in mean(taken, Taken.product).items():
        B, A = (padded(taken, i, m, max(problem.ranks)) for i in (0, 1))
        length = B.norm()  # dB in units of it, and the value in those of the penalty
        x = torch.zeros(B.shape, dtype=B.dtype, requires_grad=True)
        lbfgs = torch.optim.LBFGS(
            [x],
            max_iter=2000,
            max_eval=5000,
            history_size=60,
            tolerance_grad=1e-12,
            tolerance_change=1e-15,
            line_search_fn="strong_wolfe",
        )

        def objective(B=B, A=A, D=D, x=x, length=length, lbfgs=lbfgs):
            lbfgs.zero_grad()
            M = (B + length * x) @ A
            cosine = (D * M).sum() / (D.norm() * M.norm())
            value = (1 - cosine) / (0.01 * length**2) + (x**2).sum()
            value.backward()
            return value

        lbfgs.step(objective)
        whole = B + length * x.detach()
        if len({t.rank for t in taken}) > 1:
            whole = whole * D.norm() / (whole @ A).norm()
        found[m] = whole, A
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


PUBLISHED = {"cut": "product", "aggregate": "products"}
MERGE, QR = PUBLISHED | {"residual": "merge"}, {"qr_start": True}
UPDATE = {"cut": "update", "aggregate": "increments"}
TABLE = [
    Row("ilora", first_columns, PUBLISHED),
    Row("ilora", mean_of_models, MERGE, "ilora-merge", exact=True),
    Row(
        "ilora",
        best_of_rank,
        PUBLISHED | {"qr_start": False, "decomposition": "svd"},
        "ilora-svd",
    ),
    Row("ilora", learned, UPDATE, "ilora-update", tolerance=1e-5, alone=False),
    Row(
        "ilora",
        learned_by_svd,
        UPDATE | {"decomposition": "svd"},
        "ilora-update-svd",
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
