"""QR orthonormal and standard initialisation."""

import math

import pytest
import torch

from ilora_app.lora.initialisation import gain_squared, qr_directions, standard_factors
from tests.builders import random_weights


def test_directions_are_the_leading_part_of_the_signed_qr():
    weights = random_weights()
    directions = qr_directions(weights.items(), 4)
    for name, W0 in weights.items():
        Q, R = torch.linalg.qr(W0.double())
        signs = torch.sign(torch.diagonal(R))
        Q, R = Q * signs, R * signs[:, None]
        torch.testing.assert_close(directions[name][0], Q[:, :4].float())
        torch.testing.assert_close(directions[name][1], R[:4].float())
        assert (torch.diagonal(directions[name][1]) >= 0).all()


def test_ranks_nest():
    weights = random_weights()
    large, small = qr_directions(weights.items(), 8), qr_directions(weights.items(), 3)
    for name in weights:
        torch.testing.assert_close(large.cut(3)[name][0], small[name][0])
        torch.testing.assert_close(large.cut(3)[name][1], small[name][1])


def test_dependent_columns_of_w0_are_defined():
    W0 = torch.randn(6, 6)
    W0[:, 1] = W0[:, 0]
    Q, R = qr_directions([("layer", W0)], 3)["layer"]
    torch.testing.assert_close(Q.T @ Q, torch.eye(3))
    assert not R[1].any()


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_scaled_gain_sets_the_length_of_the_initial_product(rank):
    directions = qr_directions(random_weights().items(), 4)
    for name, squared in gain_squared(directions, rank, "scaled").items():
        Q, R = directions.cut(rank)[name]
        length = torch.linalg.norm(squared * Q @ R)
        target = 1e-4 * math.sqrt(Q.shape[0] * R.shape[1])
        torch.testing.assert_close(length.item(), target, rtol=1e-5, atol=0)


def test_paper_gain_is_one_and_others_are_refused():
    directions = qr_directions(random_weights().items(), 2)
    assert set(gain_squared(directions, 2, "paper").values()) == {1.0}
    with pytest.raises(ValueError, match="paper, scaled"):
        gain_squared(directions, 2, "huge")


def test_standard_start_is_seeded_and_has_a_zero_product():
    weights = random_weights()
    shapes = {name: tuple(W0.shape) for name, W0 in weights.items()}
    first = standard_factors(shapes, 3, torch.Generator().manual_seed(1))
    second = standard_factors(shapes, 3, torch.Generator().manual_seed(1))
    for name, (B, A) in first.items():
        assert not B.any()
        assert torch.equal(A, second[name][1])
        assert A.abs().max() <= 1 / math.sqrt(weights[name].shape[1])
        assert A.std() > 0
