"""Columns of metrics.csv against dense float64 oracles."""

import pytest
import torch

from ilora_app import wire
from ilora_app.federation.metrics import drift, of_evaluation
from ilora_app.methods import METHODS
from ilora_app.methods.state import weights_of
from ilora_app.strategies import LoraStrategy
from tests.quadratic import HEAD, SCALING, Problem, dense
from tests.toy import Toy

RANKS, EXAMPLES = (1, 2, 4), (10, 70, 20)


def test_drift_is_the_distance_from_the_weighted_mean(monkeypatch):
    """Clients count alike, but what they are distant from is the mean by examples."""
    run = Toy(LoraStrategy(METHODS["fedit"]()), Problem(RANKS, EXAMPLES))
    seen = []
    plain = run.strategy.method.aggregate

    def aggregate(state, updates):
        seen.append(updates)
        return plain(state, updates)

    monkeypatch.setattr(run.strategy.method, "aggregate", aggregate)
    for _ in range(2):
        taken = run.round()
    updates = sorted(seen[-1], key=lambda update: update.node)
    p = [n / sum(EXAMPLES) for n in EXAMPLES]
    assert weights_of(updates) == pytest.approx(p)
    changes = [
        torch.cat(
            [
                (SCALING * (dense(t.trained.factors)[m] - value)).flatten()
                for m, value in dense(t.start.factors).items()
            ]
        )
        for t in taken
    ]
    heads = [(t.trained.head[HEAD] - t.start.head[HEAD]).double() for t in taken]
    for found, vectors in zip(
        drift(updates, p, SCALING), (changes, [h.flatten() for h in heads]), strict=True
    ):
        mean = sum(w * v for w, v in zip(p, vectors, strict=True))
        distances = [float((v - mean).norm()) for v in vectors]
        assert found == pytest.approx(sum(distances) / len(distances), rel=1e-5)


def test_flexlora_puts_the_singular_values_into_B():
    """B = U S and A = V^T: a client cut to its rank trains rows of length one."""
    run = Toy(LoraStrategy(METHODS["flexlora"]()), Problem(RANKS, EXAMPLES))
    taken = run.round()
    p = [n / sum(EXAMPLES) for n in EXAMPLES]
    for module, (B, A) in run.state.adapter.factors.items():
        D = sum(w * t.product()[module] for w, t in zip(p, taken, strict=True))
        S = torch.linalg.svdvals(D)[: len(A)]
        torch.testing.assert_close(A @ A.T, torch.eye(len(A)), atol=1e-5, rtol=0)
        torch.testing.assert_close(B.norm(dim=0).double(), S, atol=1e-5, rtol=1e-5)


def test_nobody_counts_for_more_held_out_examples_than_ten_medians():
    """The count is a node's own word; .9 of four honest ones stays near .9."""
    told = [(10, 0.9), (20, 0.9), (30, 0.9), (20, 0.9), (2**62, 0.0)]
    results = [
        {wire.EXAMPLES: n, wire.ACCURACY: a, wire.LOSS: 1.0, wire.RANK: 2}
        for n, a in told
    ]
    assert of_evaluation(results)["held_out_accuracy"] == pytest.approx(0.0, abs=1e-9)
    held = of_evaluation(results, 10.0)["held_out_accuracy"]
    assert held == pytest.approx(0.9 * 80 / (80 + 10 * 20))
