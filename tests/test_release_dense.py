"""Noise on whole products, which are cut afterwards, against dense arithmetic."""

import math

import pytest
import torch

from ilora_app.federation.limits import update_norms
from ilora_app.federation.release import Release
from ilora_app.methods import find
from ilora_app.methods.state import SKETCH, Sums
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.noise import gaussian
from tests.test_release import CLIP, SCALING, UP, moved_by, nothing, state_of, updates

RANK = 4


def released(found, whole, draw, multiplier=2.0, changed=True):
    method = find("ilora")(decomposition="svd", cut="update")
    sketch = Sketch(Sums(SKETCH, changed), RANK, 0)
    release = Release(CLIP, multiplier, SCALING, draw)
    return release.update(method, state_of(method, whole), sketch, found, UP)


def mean_of(found, module, changed=True):
    """(sum of P + c (B A - P), or without P) / n, dense."""
    total = 0.0
    for one, norm in zip(found, update_norms(found, SCALING), strict=True):
        B0, A0 = (v.double() for v in one.received.adapter.factors[module])
        total = total + min(1, CLIP / norm) * moved_by(one, module)
        total = total + (0 if changed else B0 @ A0)
    return total / len(found)


def best(D):
    U, S, V = torch.linalg.svd(D)
    return U[:, :RANK] @ torch.diag(S[:RANK]) @ V[:RANK]


@pytest.mark.parametrize("changed", [True, False])
def test_it_is_the_best_approximation_of_the_clipped_mean(changed):
    whole, found = updates()
    made = released(found, whole, nothing, changed=changed)
    for module, (B, A) in made.adapter.factors.items():
        expected = best(mean_of(found, module, changed))
        assert B.shape[1] == RANK
        assert torch.allclose(B.double() @ A.double(), expected, atol=1e-9)


def test_all_of_a_product_gets_the_noise_that_is_accounted_for():
    """z C / s over the nodes, on each number, before the cut."""
    whole, found = updates()
    seen = []

    def draw(shape):
        noise = gaussian(shape)
        seen.append(noise)
        return noise

    made = released(found, whole, draw)
    heads = [n for n in whole.named_tensors() if n.startswith("head")]
    assert len(seen) == len(heads) + len(whole.factors.pairs)
    noises = seen[len(heads) :]
    for (module, (B, A)), noise in zip(
        made.adapter.factors.items(), noises, strict=True
    ):
        expected = best(
            mean_of(found, module) + noise * 2.0 * CLIP / SCALING / len(found)
        )
        assert torch.allclose(B.double() @ A.double(), expected, atol=1e-9)


def test_no_node_changes_the_products_by_more_than_the_clip():
    """Of one node alone, far beyond it: its product has rank r, and nothing is cut."""
    whole, found = updates(sizes=(50.0,), ranks=(2,))
    made = released(found, whole, nothing)
    squared = 0.0
    for B, A in made.adapter.factors.pairs.values():
        squared += float((B.double() @ A.double()).square().sum()) * SCALING**2
    before, after = whole.named_tensors(), made.adapter.named_tensors()
    for name in (n for n in after if n.startswith("head")):
        squared += float((after[name] - before[name]).double().square().sum())
    assert 0.5 * CLIP < math.sqrt(squared) <= CLIP * (1 + 1e-5)
