"""Noise on what clients change along the factors they trained from, against dense."""

import math

import pytest
import torch

from ilora_app.federation.limits import update_norms
from ilora_app.federation.release import Release
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods import find
from ilora_app.methods.state import DENSE, TANGENT, Sums
from ilora_app.methods.sums import Sketch
from ilora_app.privacy.noise import gaussian
from tests.test_release import CLIP, SCALING, UP, moved_by, nothing, state_of, updates

RANK = 4


def released(found, whole, draw, changed=True):
    """With z = 2; factors by module."""
    method = find("ilora")(decomposition="svd", cut="update")
    sketch = Sketch(Sums(TANGENT, changed), RANK, 0)
    release = Release(CLIP, 2.0, SCALING, draw)
    return release.update(method, state_of(method, whole), sketch, found, UP)


def products(made) -> dict[str, torch.Tensor]:
    return {m: B.double() @ A.double() for m, (B, A) in made.adapter.factors.items()}


def mean_of(found, module, changed=True):
    """(sum of P + c (B A - P), or without P) / n, dense."""
    total = 0.0
    for one, norm in zip(found, update_norms(found, SCALING), strict=True):
        B0, A0 = (v.double() for v in one.received.adapter.factors[module])
        total = total + min(1, CLIP / norm) * moved_by(one, module)
        total = total + (0 if changed else B0 @ A0)
    return total / len(found)


def projectors(whole, module):
    """On the columns of B and on the rows of A, by singular vectors."""
    found = []
    for M in (whole.factors[module][0], whole.factors[module][1].T):
        U, S, _ = torch.linalg.svd(M.double(), full_matrices=False)
        U = U[:, S > 1e-6]
        found.append(U @ U.T)
    return found


@pytest.mark.parametrize("changed", [True, False])
def test_it_is_the_clipped_mean_in_the_tangent_space(changed):
    whole, found = updates()
    for module, made in products(released(found, whole, nothing, changed)).items():
        D = mean_of(found, module, changed)
        columns, rows = projectors(whole, module)
        outside = D - columns @ D - D @ rows + columns @ D @ rows
        assert torch.allclose(made, D - outside, atol=1e-6)


def test_small_steps_are_all_in_it():
    """What is left out is a product of two changes."""
    whole, found = updates(sizes=(1e-3, 2e-3, 1e-3))
    for module, made in products(released(found, whole, nothing)).items():
        D = mean_of(found, module)
        assert float((made - D).norm()) < 5e-3 * float(D.norm())


def test_where_b_is_zero_all_is_along_the_rows_of_a():
    whole, found = updates()
    pairs = {m: (0.0 * B, A) for m, (B, A) in whole.factors.items()}
    start = AdapterState(LoraFactors(pairs), whole.head)
    for module, made in products(released(found, start, nothing)).items():
        D = mean_of(found, module)
        rows = projectors(whole, module)[1]
        assert torch.allclose(made, D @ rows, atol=1e-6)


def test_noise_has_the_size_that_is_accounted_for():
    """z C / s over the nodes: on r columns, and on r rows without these columns."""
    whole, found = updates()
    seen = []

    def draw(shape):
        seen.append(gaussian(shape))
        return seen[-1]

    noisy, plain = released(found, whole, draw), released(found, whole, nothing)
    heads = [n for n in whole.named_tensors() if n.startswith("head")]
    modules, factor = list(whole.factors.pairs), 2.0 * CLIP / SCALING / len(found)
    assert len(seen) == len(heads) + 2 * len(modules)
    right, left = seen[len(heads) :][: len(modules)], seen[-len(modules) :]
    for module, on_columns, on_rows in zip(modules, right, left, strict=True):
        B, A = (v.double() for v in noisy.adapter.factors[module])
        B0, A0 = (v.double() for v in plain.adapter.factors[module])
        assert torch.allclose(B[:, :RANK] - B0[:, :RANK], factor * on_columns)
        E, Q = A[:RANK].T, B[:, RANK:]
        for basis in (E, Q):
            assert torch.allclose(
                basis.T @ basis, torch.eye(RANK, dtype=basis.dtype), atol=1e-6
            )
        moved = factor * (on_rows - on_rows @ E @ E.T)
        assert torch.allclose(A[RANK:] - A0[RANK:], moved, atol=1e-6)


@pytest.mark.parametrize("changed", [True, False])
def test_dense_sums_have_noise_on_all_numbers(changed):
    whole, found = updates()
    method, seen = find("flexlora")(), []

    def draw(shape):
        seen.append(gaussian(shape))
        return seen[-1]

    sketch = Sketch(Sums(DENSE, changed), RANK, 0)
    state = state_of(method, whole)
    made = Release(CLIP, 2.0, SCALING, draw).update(method, state, sketch, found, UP)
    factor = 2.0 * CLIP / SCALING / len(found)
    on = dict(zip(whole.factors.pairs, seen[-len(whole.factors.pairs) :], strict=True))
    for module, D in products(made).items():
        right = mean_of(found, module, changed) + factor * on[module]
        assert torch.allclose(D, right, atol=1e-6)
    assert method.noisy_sums(state) == Sums(DENSE, method.sums(state).changed)


def test_no_node_changes_it_by_more_than_the_clip():
    """Of one node alone, far beyond it: Y, W and the head together."""
    whole, found = updates(sizes=(50.0,), ranks=(4,))
    made = released(found, whole, nothing)
    squared = 0.0
    for B, A in made.adapter.factors.pairs.values():
        parts = B[:, :RANK].square().sum() + A[RANK:].square().sum()
        squared += float(parts) * SCALING**2
    before, after = whole.named_tensors(), made.adapter.named_tensors()
    for name in (n for n in after if n.startswith("head")):
        squared += float((after[name] - before[name]).double().square().sum())
    assert 0 < math.sqrt(squared) <= CLIP * (1 + 1e-5)
