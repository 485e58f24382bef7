"""Means of factors that are corrected or turned, densely and in float64."""

import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from tests.means import History, mean, padded
from tests.quadratic import Dense, Problem, Taken, weights


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
