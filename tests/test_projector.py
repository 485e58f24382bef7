"""Projectors of gradients: orthonormal, taken from sketches, and moments under them."""

import pytest
import torch

from ilora_app.lora.factors import LoraFactors
from ilora_app.lora.initialisation import standard_factors
from ilora_app.lora.projector import (
    projector,
    random_projectors,
    refreshed,
    turned_moment,
)

TALL, WIDE = "tall", "wide"
SHAPES = {TALL: (9, 6), WIDE: (5, 8)}


def orthonormal(rows: int, side: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(side, rows, generator=draw))[0].T


def test_projectors_are_orthonormal_lie_on_the_smaller_side_and_leave_zeros_to_train():
    draw = torch.Generator().manual_seed(0)
    found = random_projectors(standard_factors(SHAPES, 3, draw))
    for module, side in ((TALL, 6), (WIDE, 5)):
        P = projector(found[module])
        assert P.shape == (3, side)
        torch.testing.assert_close(P @ P.T, torch.eye(3))
    assert not found[TALL][0].any()
    assert not found[WIDE][1].any()
    whole = random_projectors(standard_factors(SHAPES, 6, draw))
    assert projector(whole[TALL]).equal(torch.eye(6))
    assert projector(whole[WIDE]).equal(torch.eye(6, 5))


def test_rows_that_are_not_independent_are_refused():
    A = torch.ones(2, 6)
    with pytest.raises(ValueError, match="m: the rows of A are not independent"):
        random_projectors(LoraFactors({"m": (torch.zeros(9, 2), A)}))


def test_refreshing_from_the_gradients_converges_to_their_leading_directions():
    draw = torch.Generator().manual_seed(1)
    U, V = orthonormal(6, 20, 2), orthonormal(6, 12, 3)
    G = U.T @ torch.diag(torch.tensor([9.0, 6.0, 4.0, 0.5, 0.2, 0.1])) @ V
    P = orthonormal(3, 12, 4)
    for _ in range(6):
        P = refreshed(P, (G @ P.T).T @ G, draw)
    torch.testing.assert_close(P.T @ P, V[:3].T @ V[:3], atol=1e-3, rtol=0)
    assert float((P[:1] @ V[:1].T).abs()) == pytest.approx(1.0, abs=1e-3)


def test_without_a_sketch_directions_are_drawn_and_missing_ones_completed():
    draw = torch.Generator().manual_seed(5)
    P = orthonormal(3, 12, 6)
    found = refreshed(P, torch.zeros(3, 12), draw)
    assert not found.allclose(P)
    torch.testing.assert_close(found @ found.T, torch.eye(3))
    one = torch.zeros(3, 12)
    one[1, 4] = 2.0
    found = refreshed(P, one, draw)
    torch.testing.assert_close(found @ found.T, torch.eye(3))
    assert float(found[0, 4].abs()) == pytest.approx(1.0)


def test_moments_turn_with_directions_and_take_the_mean_outside_of_them():
    old = orthonormal(3, 12, 7)
    v = torch.rand(9, 3)
    swapped = turned_moment(v, old, old[[2, 0, 1]])
    torch.testing.assert_close(swapped, v[:, [2, 0, 1]])
    torch.testing.assert_close(turned_moment(v, old, -old), v)
    whole = torch.linalg.qr(torch.cat([old, torch.randn(9, 12)]).T)[0].T
    outside = turned_moment(v, old, whole[3:6])
    torch.testing.assert_close(outside, v.mean(dim=1, keepdim=True).expand(9, 3))
    # A gradient with independent entries: half of each of two directions.
    half = (old[:1] + old[1:2]) / 2**0.5
    mixed = turned_moment(v, old, torch.cat([half, old[2:]]))
    torch.testing.assert_close(mixed[:, 0], (v[:, 0] + v[:, 1]) / 2)
