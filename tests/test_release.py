"""Clipped sums and noise, against dense products and Flower's account."""

import math

import numpy as np
import pytest
import torch

from ilora_app.federation.limits import begun, update_norms
from ilora_app.federation.release import Release
from ilora_app.methods import METHODS, find
from ilora_app.methods.state import Share
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.budget import Budget, noise_for, spent
from ilora_app.privacy.noise import gaussian
from ilora_app.settings import Settings, parsing
from tests.builders import random_state, update
from tests.test_robust import dense

SCALING, CLIP = 1.7, 0.5
UP = ("lora_A", "lora_B", "head")


def nothing(shape):
    return torch.zeros(tuple(shape), dtype=torch.float64)


def updates(sizes=(0.01, 0.3, 5.0), ranks=(2, 4, 4)):
    """Some that change little, and one far beyond the clip."""
    whole, found = random_state(4, seed=9), []
    for k, (size, rank) in enumerate(zip(sizes, ranks, strict=True)):
        own = random_state(4, seed=k).named_tensors()
        flat = {n: v + size * own[n] for n, v in whole.named_tensors().items()}
        adapter = type(whole).from_named_tensors(flat).cut(rank)
        found.append(update(k, adapter, Share(whole.cut(rank)), examples=10 + 90 * k))
    return whole, found


def state_of(method, whole):
    return method.begin(whole)


def test_noise_is_normal_and_never_the_same():
    one, other = gaussian((400, 500)), gaussian((400, 500))
    assert not one.equal(other)
    assert one.dtype == torch.float64
    assert float(one.mean()) == pytest.approx(0, abs=0.01)
    assert float(one.std()) == pytest.approx(1, abs=0.01)
    assert float((one.abs() < 1).double().mean()) == pytest.approx(0.6827, abs=0.005)
    assert float((one * other).mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("changed", [True, False])
def test_products_are_the_mean_of_clipped_changes(changed):
    """Whatever examples nodes say that they have; the rest is what they were sent."""
    from ilora_app.methods.state import LEADING, Sums

    whole, found = updates()
    method = find("ilora")(decomposition="qr", cut="update")
    release = Release(CLIP, 1.0, SCALING, nothing)
    sketch = Sketch(Sums(LEADING, changed), 4, 0)
    made = release.update(method, state_of(method, whole), sketch, found, UP)
    norms = update_norms(found, SCALING)
    assert norms[-1] > 10 * CLIP
    for module, (B, A) in made.adapter.factors.items():
        expected = torch.zeros(B.shape[0], A.shape[1], dtype=torch.float64)
        for one, norm in zip(found, norms, strict=True):
            B1, A1 = (v.double() for v in one.adapter.factors[module])
            B0, A0 = (v.double() for v in one.received.adapter.factors[module])
            expected += min(1, CLIP / norm) * (B1 @ A1 - B0 @ A0) / len(found)
            expected += 0 if changed else B0 @ A0 / len(found)
        r = 4  # what the method needs of it: the first columns, and rows under them
        D = B.double() @ A.double()
        assert torch.allclose(D[:, :r], expected[:, :r], atol=1e-9)
    dense_norms = [float(dense(one, SCALING).__abs__().max()) for one in found]
    assert all(math.isfinite(value) for value in dense_norms)


def test_no_node_changes_a_mean_by_more_than_the_clip():
    """Of every strategy that averages factors: one node there, or as it was sent."""
    from ilora_app.methods.state import MEANS, Sums

    whole, found = updates()
    for name in ("fedit", "ffa-lora", "rolora"):
        method = METHODS[name]()
        state = state_of(method, whole)
        sketch, release = Sketch(Sums(MEANS), 4, 0), Release(CLIP, 1.0, 1.0, nothing)
        given = release.update(method, state, sketch, found, UP)
        away = [*found[:-1], update(2, begun(found[-1]), found[-1].received)]
        without = release.update(method, state, sketch, away, UP)
        one, other = (u.adapter.named_tensors() for u in (given, without))
        squared = sum(float((one[n] - other[n]).double().square().sum()) for n in one)
        assert 0 < math.sqrt(squared) * len(found) <= CLIP * (1 + 1e-5)


def test_no_node_changes_both_passes_together_by_more_than_the_clip():
    """Of one node alone, far beyond the clip: Y, R behind it, and the head."""
    from ilora_app.methods.state import LEADING, Sums

    whole, found = updates(sizes=(50.0,), ranks=(4,))
    method, sketch = (
        find("ilora")(decomposition="qr"),
        Sketch(Sums(LEADING, True), 4, 0),
    )
    release = Release(CLIP, 1.0, SCALING, nothing)
    made = release.update(method, state_of(method, whole), sketch, found, UP)
    squared = 0.0
    for B, A in made.adapter.factors.pairs.values():  # [Y, Q] and [E^T; R behind Y]
        assert A[4:, :4].abs().max() < 1e-9
        squared += float(B[:, :4].square().sum() + A[4:].square().sum()) * SCALING**2
    before, after = whole.named_tensors(), made.adapter.named_tensors()
    for name in (n for n in after if n.startswith("head")):
        squared += float((after[name] - before[name]).double().square().sum())
    assert 0.5 * CLIP < math.sqrt(squared) <= CLIP * (1 + 1e-5)


@pytest.mark.parametrize("kind", ["means", "leading"])
def test_noise_has_the_size_that_is_accounted_for(kind):
    """z C, of products over s, and over the nodes in the mean."""
    from ilora_app.methods.state import Sums

    whole, found = updates()
    method = find("ilora")(decomposition="qr", cut="update")
    seen = []

    def draw(shape):
        noise = gaussian(shape)
        seen.append(noise)
        return noise

    state, sketch = state_of(method, whole), Sketch(Sums(kind, True), 4, 0)
    how = method, state, sketch, found, UP
    plain = Release(CLIP, 2.0, SCALING, nothing).update(*how)
    noisy = Release(CLIP, 2.0, SCALING, draw).update(*how)
    head = [n for n in plain.adapter.named_tensors() if n.startswith("head")]
    factor = 2.0 * CLIP / len(found)
    before, after = plain.adapter.named_tensors(), noisy.adapter.named_tensors()
    moved = torch.cat([(after[n] - before[n]).flatten() for n in head]).double()
    drawn = torch.cat([n.flatten() for n in seen])
    if kind == "means":
        names = list(before)
        moved = torch.cat([(after[n] - before[n]).flatten() for n in names]).double()
        assert sorted(moved.tolist()) == pytest.approx(
            sorted((factor * drawn).tolist()), abs=1e-5
        )
    else:
        assert len(seen) == len(head) + 2 * len(whole.factors.pairs)
        first = torch.cat([n.flatten() for n in seen[: len(head)]])
        assert moved.tolist() == pytest.approx((factor * first).tolist(), abs=1e-5)
        module, r = min(whole.factors.pairs), 4
        norms = update_norms(found, SCALING)
        D = sum(
            min(1, CLIP / norm) * moved_by(one, module)
            for one, norm in zip(found, norms, strict=True)
        ) / len(found)
        B, A = (v.double() for v in noisy.adapter.factors[module])
        Y, Q = B[:, :r], B[:, r:]
        R = A[r:] + Q.T @ Y @ torch.eye(r, A.shape[1], dtype=torch.float64)
        modules = len(whole.factors.pairs)
        assert torch.allclose(R[:, :r], Q.T @ Y, atol=1e-9)
        for apart, noise in (
            (Y - D[:, :r], len(head)),
            ((R - Q.T @ D)[:, r:], len(head) + modules),
        ):
            drawn = seen[noise].flatten() * factor / SCALING
            assert apart.flatten().tolist() == pytest.approx(drawn.tolist(), abs=1e-5)


def moved_by(one, module) -> torch.Tensor:
    """B A - P of a node, dense."""
    B, A = (v.double() for v in one.adapter.factors[module])
    B0, A0 = (v.double() for v in one.received.adapter.factors[module])
    return B @ A - B0 @ A0


def test_the_account_is_that_of_the_gaussian_mechanism():
    """One round against the exact curve of Balle and Wang (2018): never below it."""
    from scipy.stats import norm

    for z in (0.8, 2.0, 6.0):
        epsilon = spent(z, 1e-5, 1)
        left, right = 0.5 / z - epsilon * z, -0.5 / z - epsilon * z
        delta = norm.cdf(left) - math.exp(epsilon) * norm.cdf(right)
        assert delta <= 1e-5
        assert spent(z, 1e-5, 4) == pytest.approx(spent(z / 2, 1e-5, 1), rel=1e-6)


def test_the_noise_of_a_budget_is_the_least():
    for epsilon, rounds in ((1.0, 20), (8.0, 3)):
        z = noise_for(epsilon, 1e-4, rounds)
        assert 0.99 * epsilon < spent(z, 1e-4, rounds) <= epsilon
        budget = Budget(1e-4, epsilon, z)
        assert budget.lasts(rounds)
        assert not budget.lasts(rounds + 1)
    assert Budget(1e-4, 0.0, 1.0).lasts(10**6)


def test_what_makes_no_sense_is_refused_with_a_reason():
    from ilora_app.federation import validity

    def wrong(**keys):
        named = {key.replace("_", "-"): value for key, value in keys.items()}
        settings = parsing.load(
            {**parsing.dump(Settings()), "strategy": "ilora"} | named
        )
        return validity.problems(settings)

    right = {"dp": "client", "dp_target_epsilon": 4.0, "decomposition": "qr"}
    assert not wrong(**right)
    assert "is not used, as dp is 'none'" in wrong(dp_clip=2.0)["dp-clip"]
    for key, value in (
        ("head", "ridge"),
        ("drift_correction", "control-variates"),
        ("robust", "krum"),
        ("decomposition", "pivoted-qr"),
        ("dp_noise_multiplier", 1.0),
        ("dp_target_epsilon", 1e-7),
        ("server_rate", "auto"),
        ("best_metric", "client_accuracy_mean"),
        ("best_metric", "held_out_accuracy"),
    ):
        found = wrong(**right | {key: value})
        assert len(found) == 1, (key, found)
    assert not wrong(**right | {"decomposition": "svd"})
    blind = right | {"secure_aggregation": True}
    assert not wrong(**blind)
    assert not wrong(**blind | {"decomposition": "svd"})
    assert "no single norm" in wrong(**blind, dp_clip_quantile=0.5)["dp-clip-quantile"]
    assert "dp" in wrong(strategy="flora", dp="client", dp_target_epsilon=1.0)
    personal = {"strategy": "fedsa-lora", "dp": "client", "dp_target_epsilon": 1.0}
    assert not wrong(**personal)
    for key in ("patience", "target_accuracy"):
        [said] = wrong(**personal, **{key: 1}).values()
        assert said.endswith("expected 0, as nodes measure models of their own, which "
                             "is in no account")  # fmt: skip
    flexlora = {"strategy": "flexlora", "dp": "client", "dp_target_epsilon": 1.0}
    assert not wrong(**flexlora)
    assert not wrong(**flexlora, secure_aggregation=True)
    assert np.isfinite(
        Budget.of(
            parsing.load(
                parsing.dump(Settings())
                | {"dp": "client", "dp-target-epsilon": 4.0, "decomposition": "qr"}
            )
        ).multiplier
    )
