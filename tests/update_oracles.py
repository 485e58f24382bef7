"""What ILoRA with ``cut = \"update\"`` must compute, densely and in float64."""

import torch
from torch import Tensor

from ilora_app.lora.initialisation import qr_directions
from tests.quadratic import Dense, Problem, Taken, weights

History = list[list[Taken]]


def prefix(M: Tensor, rank: int, decomposition: str = "qr") -> Tensor:
    """Projection of M on the first ``rank`` directions of its dense decomposition."""
    if decomposition == "svd":
        Q = torch.linalg.svd(M, full_matrices=False).U[:, :rank]
    else:
        Q = torch.linalg.qr(M[:, :rank]).Q
    return Q @ Q.T @ M


def directions(problem: Problem, rank: int) -> Dense:
    """Q_k R_k: the product that a client of this rank trains from in round 1."""
    pairs = qr_directions(problem.W0.items(), rank).items()
    return {m: Q.double() @ R.double() for m, (Q, R) in pairs}


def starts(
    problem: Problem,
    history: History,
    rank: int,
    how: str = "qr",
    sums: str = "increments",
) -> Dense:
    """P_k under cut = update: what a client of this rank begins the next round with."""
    if not any(history):
        return directions(problem, rank)
    if sums == "increments":
        U = learned(problem, history, how)
    else:
        U = learned_by_products(problem, history, how)
    return {m: prefix(value, rank, how) for m, value in U.items()}


def learned_by_products(problem: Problem, history: History, how: str = "qr") -> Dense:
    """U = cut(sum_k p_k B_k A_k), less what clients started from in round 1."""
    rounds = [taken for taken in history if taken]
    found = {}
    for m in problem.W0:
        total = torch.zeros(problem.shapes[m]).double()
        for t, p in zip(rounds[-1], weights(rounds[-1]), strict=True):
            total = total + p * t.product()[m]
            if len(rounds) == 1:
                total = total - p * directions(problem, t.rank)[m]
        found[m] = prefix(total, max(problem.ranks), how)
    return found


def learned(
    problem: Problem,
    history: History,
    how: str = "qr",
    eta: float = 1.0,
    beta: float = 0.0,
    qr_start: bool = True,
) -> Dense:
    """U_t = cut(U + eta sum_k p_k (B_k A_k - P_k) + beta (U - U_before)), from U_0 = 0.

    The starts P_k are those of the equations, not what the run has sent.
    """
    zero = {m: torch.zeros(s).double() for m, s in problem.shapes.items()}
    path = [zero, zero]
    rounds = [taken for taken in history if taken]
    for number, taken in enumerate(rounds):
        U, before, found = path[-1], path[-2], {}
        for m in problem.W0:
            total = U[m] + beta * (U[m] - before[m])
            for t, p in zip(taken, weights(taken), strict=True):
                P = prefix(U[m], t.rank, how)
                if qr_start and not number:
                    P = directions(problem, t.rank)[m]
                total = total + eta * p * (t.product()[m] - P)
            found[m] = prefix(total, max(problem.ranks), how)
        path.append(found)
    return path[-1]


def products_by_svd(problem: Problem, history: History) -> Dense:
    return learned_by_products(problem, history, "svd")


def learned_by_svd(problem: Problem, history: History) -> Dense:
    return learned(problem, history, "svd")


def learned_from_zero(problem: Problem, history: History) -> Dense:
    """The same from B A = 0."""
    return learned(problem, history, "svd", qr_start=False)
