r"""Loss-threshold membership inference, and how well it does.

A row is called a member where the model's loss on it is below a threshold (Yeom et al.,
CSF 2018). Over all thresholds that is a ROC curve; how sure an attacker can be is read
where few non-members are called members (Carlini et al., S&P 2022).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]

FPR = 0.01
_Z = 1.959963984540054
_DRAWS = 2000
_FEWEST = 10


def attack(
    members: Losses, others: Losses, seed: int = 0, draws: int = _DRAWS
) -> dict[str, Any]:
    """Attack a model by its losses.

    Args:
        members: losses of rows that were trained on, shape (m,).
        others: of rows that were not, shape (n,).
        seed: of the draws behind the interval of the true positives.
        draws: so many.

    Returns:
        ``auc`` with a 95 % interval by DeLong et al. (1988), ``tpr`` at 1 % false
        positives with one by a bootstrap over both sets, and ``roc``.

    Raises:
        ValueError: too few losses, or some that are no numbers.

    """
    from sklearn.metrics import roc_auc_score, roc_curve

    for name, losses in (("members", members), ("non-members", others)):
        if len(losses) < _FEWEST:
            raise ValueError(f"{len(losses)} {name}: expected {_FEWEST} or more")
        if not np.isfinite(losses).all():
            raise ValueError(f"the model's loss on {name} is no finite number")
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    scores = -np.r_[members, others]
    auc = float(roc_auc_score(truth, scores))
    fpr, tpr, _ = roc_curve(truth, scores)
    return {
        "auc": auc,
        "auc_interval": _around(auc, _delong(-members, -others)),
        "fpr": FPR,
        "tpr": true_positives(members, others),
        "tpr_interval": _bootstrap(members, others, seed, draws),
        "members": len(members),
        "non_members": len(others),
        "mean_loss": {
            "members": float(members.mean()),
            "non_members": float(others.mean()),
        },
        "roc": {"fpr": fpr.tolist(), "tpr": tpr.tolist()},
    }


def true_positives(members: Losses, others: Losses, fpr: float = FPR) -> float:
    """Members found at the largest threshold with at most ``fpr`` false positives."""
    allowed = int(fpr * len(others))
    threshold = np.partition(others, allowed)[allowed]
    return float((members < threshold).mean())


def _delong(x: Losses, y: Losses) -> float:
    r"""Standard error of the AUC: sqrt(var(V_x) / m + var(V_y) / n).

    V_x(i) is the part of y below x_i, V_y(j) that of x above y_j; ties count half.
    """
    low, high = np.sort(y), np.sort(x)
    below = np.searchsorted(low, x, "left") + np.searchsorted(low, x, "right")
    under = np.searchsorted(high, y, "left") + np.searchsorted(high, y, "right")
    of_x, of_y = below / (2 * len(y)), 1 - under / (2 * len(x))
    return float(np.sqrt(of_x.var(ddof=1) / len(x) + of_y.var(ddof=1) / len(y)))


def _around(value: float, error: float) -> list[float]:
    return [max(0.0, value - _Z * error), min(1.0, value + _Z * error)]


def _bootstrap(members: Losses, others: Losses, seed: int, draws: int) -> list[float]:
    draw = np.random.Generator(np.random.PCG64(seed))
    found = [
        true_positives(
            draw.choice(members, len(members)), draw.choice(others, len(others))
        )
        for _ in range(draws)
    ]
    return [float(q) for q in np.quantile(found, [0.025, 0.975])]
