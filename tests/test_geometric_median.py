"""Weights of the geometric median, from distances alone."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ilora_app.federation import robust


def minimiser(points: np.ndarray) -> np.ndarray:
    return minimize(
        lambda x: np.linalg.norm(points - x, axis=1).sum(), np.zeros(points.shape[1])
    ).x


def test_the_weights_of_the_geometric_median_are_those_of_a_minimiser():
    points = np.random.default_rng(0).normal(size=(7, 5))
    points[6] += 50
    D = np.linalg.norm(points[:, None] - points[None], axis=2)
    weights = np.array(robust.geometric_median(torch.from_numpy(D)))
    assert weights.sum() == pytest.approx(1)
    assert weights @ points == pytest.approx(minimiser(points), abs=1e-4)
    assert weights[6] < 0.03


def test_the_geometric_median_of_points_that_are_the_same():
    assert robust.geometric_median(torch.zeros(4, 4).double()) == [0.25] * 4


@pytest.mark.parametrize("far", [1e3, 1e5, 1e7, 1e12, 1e17, 1e25])
@pytest.mark.parametrize("seed", range(5))
def test_one_point_moves_it_by_no_more_the_further_it_is(far, seed):
    points = np.random.default_rng(seed).normal(size=(8, 5))
    points[7] *= far  # in no direction in which distances would be told alike
    D = np.linalg.norm(points[:, None] - points[None], axis=2)
    weights = np.array(robust.geometric_median(torch.from_numpy(D)))
    assert weights.sum() == pytest.approx(1)
    gone = weights @ points - minimiser(points[:7])
    assert np.linalg.norm(gone) < 1.0


def test_points_of_which_most_are_one():
    points = np.zeros((5, 2))
    points[3:] = [[1.0, 0.0], [0.0, 2.0]]
    D = np.linalg.norm(points[:, None] - points[None], axis=2)
    weights = robust.geometric_median(torch.from_numpy(D))
    assert weights[:3] == pytest.approx([1 / 3] * 3, abs=1e-6)
