"""What every client must start a round from, densely, from the equations alone.

The other oracles read each client's start off the run; here it is what the last round's
uploads make it: T + B A - O of every layer, for a client of a rank.
"""

import torch

from ilora_app.lora.initialisation import qr_directions
from tests.aligned_oracles import nearest_factors, product_of_turned
from tests.means import History, padded
from tests.oracles import (
    Row,
    best_of_rank,
    best_of_segments,
    means_without_the_start,
    norms,
)
from tests.quadratic import Dense, Problem, Taken, weights
from tests.update_oracles import starts


def start_of(
    row: Row, problem: Problem, history: History, t: Taken, own: Taken | None
) -> Dense:
    """T + B A - O of every layer, before the client of ``t`` trained.

    Args:
        row: the strategy.
        problem: of the run.
        history: the rounds before.
        t: says which client, and its rank in this round.
        own: what that client did when it last trained, taken or not.

    """
    rounds = [taken for taken in history if taken]
    zero = {m: torch.zeros(s).double() for m, s in problem.shapes.items()}
    if row.name == "local":
        return own.product() if own else zero
    if row.name == "fedsa-lora":
        if own is None:
            return zero
        A = {m: _last_of_each(rounds, m, max(problem.ranks)) for m in zero}
        B = {m: own.trained.factors[m][0].double() for m in zero}
        return {m: B[m] @ A[m][: t.rank] for m in zero}
    if not rounds:
        return zero
    return _shared(row, problem, rounds, t.rank)


def _last_of_each(rounds: History, m: str, rank: int) -> torch.Tensor:
    """The mean A of the last round in which somebody held a direction, row by row."""
    found = torch.zeros(())
    for taken in rounds:
        top, fresh = max(t.rank for t in taken), padded(taken, 1, m, rank)
        found = torch.cat([fresh[:top], found[top:]]) if found.dim() else fresh
    return found


def _shared(row: Row, problem: Problem, rounds: History, rank: int) -> Dense:
    """The same for every client of a rank."""
    label, last = str(row), rounds[-1]
    whole = row.oracle(problem, rounds)
    if label.startswith("ilora-products"):
        how = row.settings.get("decomposition", "svd")
        return starts(problem, rounds, rank, how, sums="products")
    if label.startswith("ilora-update"):
        # From round 2 on a client trains over W0 itself.
        how = row.settings.get("decomposition", "qr")
        return starts(problem, rounds, rank, how)
    if label == "ilora":  # at W0 + P_k (D - D0)
        return {m: _onto_first(last, m, rank) @ L for m, L in _learned(problem, rounds)}
    if label in ("ilora-svd", "flexlora"):
        return best_of_rank(problem, rounds, rank)
    if label == "raflora":
        return best_of_segments(problem, rounds, rank)
    if label == "fedrot-lora":
        return product_of_turned(problem, rounds, rank)
    if label == "fedit-qr":
        return means_without_the_start(problem, rounds, rank)
    if label in ("fedit", "rolora", "ffa-lora", "hetlora", "fedex-lora"):
        by = norms(last) if label == "hetlora" else None
        A, B = (
            {m: _factor(rounds, side, m, problem, by, label) for m in problem.W0}
            for side in (1, 0)
        )
        start = {m: B[m][:, :rank] @ A[m][:rank] for m in problem.W0}
        if label == "fedex-lora":  # T holds the model less the product of the means
            return {m: whole[m] - B[m] @ A[m] + start[m] for m in start}
        return start
    if label == "lora-fair":
        pairs = nearest_factors(problem, rounds)
        return {m: B[:, :rank] @ A[:rank] for m, (B, A) in pairs.items()}
    return whole  # T, or all of it, whatever the rank


def _factor(
    rounds: History,
    side: int,
    m: str,
    problem: Problem,
    by: list[float] | None,
    label: str,
) -> torch.Tensor:
    """The mean of a factor; of one that was frozen, what all clients had of it."""
    r = max(problem.ranks)
    frozen = {"ffa-lora": (1,), "rolora": (len(rounds) % 2,)}.get(label, ())
    if side not in frozen:
        return padded(rounds[-1], side, m, r, by)
    # All clients hold a prefix of one factor: the longest ever seen is all of it.
    held = [t.start.factors[m][side] for taken in rounds[-1:] for t in taken]
    if label == "rolora" and len(rounds) > 1:
        return padded(rounds[-2], side, m, r)
    longest = max(held, key=lambda v: v.shape[side == 0]).double()
    grown = (
        torch.zeros(longest.shape[0], r)
        if side == 0
        else torch.zeros(r, longest.shape[1])
    )
    grown = grown.double()
    grown[: longest.shape[0], : longest.shape[1]] = longest
    return grown


def _onto_first(last: list[Taken], m: str, rank: int) -> torch.Tensor:
    """P_k: the projector on the first r_k columns of D."""
    D = sum(p * t.product()[m] for p, t in zip(weights(last), last, strict=True))
    Q = torch.linalg.qr(D[:, :rank]).Q
    return Q @ Q.T


def _learned(problem: Problem, rounds: History):
    """D - D0 of every layer after the last round, with D0 from round to round.

    D0 = sum_k p_k O_k: O_k = Q_k R_k in round 1, then P_k D0 of the round before.
    """
    for m in problem.W0:
        out = None
        for number, taken in enumerate(rounds):
            D0 = 0.0
            for p, t in zip(weights(taken), taken, strict=True):
                if number == 0:
                    Q, R = qr_directions(problem.W0.items(), t.rank)[m]
                    part = Q.double() @ R.double()
                else:
                    part = _onto_first(rounds[number - 1], m, t.rank) @ out
                D0 = D0 + p * part
            out = D0
        last = rounds[-1]
        D = sum(p * t.product()[m] for p, t in zip(weights(last), last, strict=True))
        yield m, D - out
