"""Every strategy finds the known optimum of a quadratic problem that it can reach."""

import pytest
import torch

from ilora_app.lora.initialisation import qr_directions, standard_factors
from ilora_app.settings import MethodSettings
from tests.builders import SHAPES
from tests.oracles import TABLE
from tests.quadratic import HEAD, HEAD_SHAPE, SCALING, Problem
from tests.toy import Toy

RANK, CLIENTS = 3, 2

# Local steps of one round each: rate and rounds. The QR start has long rows R, the SVD
# rows of length 1, and flora draws the directions of a step at random.
PACE = {
    "ilora": (0.008, 190),
    "ilora-merge": (0.008, 190),
    "ilora-svd": (0.05, 100),
    "ilora-default": (0.05, 100),
    "ilora-products-svd": (0.05, 60),
    "ilora-products": (0.05, 60),
    "ilora-update": (0.05, 60),
    "ilora-update-svd": (0.05, 60),
    "ilora-send": (0.05, 100),
    "fedit-qr": (0.012, 130),
    "flora": (0.15, 110),
    "flexlora": (0.05, 100),
    "raflora": (0.05, 100),
    "fedgalore": (0.15, 110),
}


def problem(rate: float) -> Problem:
    """One target for all: W0 + s (rank 1), and a head; the optimum is a loss of 0.

    Its column is in the span of Q, which the QR start cannot leave without loss, and
    its row in that of the frozen A of ffa-lora, so that every row can reach it.
    """
    draw = torch.Generator().manual_seed(11)
    A = standard_factors(SHAPES, RANK, torch.Generator().manual_seed(3))
    W0 = Problem((1,), (1,)).W0
    Q = qr_directions(W0.items(), 1)
    target = {m: W + 2 * SCALING * Q[m][0] @ A[m][1][:1] for m, W in W0.items()}
    head = 0.1 * torch.randn(HEAD_SHAPE, generator=draw)
    return Problem(
        (RANK,) * CLIENTS,
        (10, 20),
        targets=[target] * CLIENTS,
        heads=[head] * CLIENTS,
        steps=1,
        rate=rate,
    )


def loss(run: Toy) -> float:
    """Of the global model; of the mean over clients where models are personal."""
    p, model = run.problem, run.model()
    models = [model]
    if run.strategy.method.personal:
        models = [t.model() | {HEAD: t.trained.head[HEAD]} for t in run.history[-1]]
    return sum(
        float(((found[HEAD] - p.heads[0]) ** 2).sum()) / 2
        + sum(
            float(((p.W0[m] + SCALING * found[m] - M) ** 2).sum()) / 2
            for m, M in p.targets[0].items()
        )
        for found in models
    ) / len(models)


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_loss_goes_to_its_optimum(row):
    rate, rounds = PACE.get(str(row), (0.1, 60))
    run = Toy(row.make(), problem(rate), MethodSettings(hetlora_lambda=0.0))
    losses = []
    for _ in range(rounds):
        run.round()
        losses.append(loss(run))
    assert losses[-1] < 1e-3 * losses[0]
