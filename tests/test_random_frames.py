"""Lengths of random frames against plain sampling of the frames."""

import numpy as np
import pytest
import torch

from ilora_app.lora.random_frames import largest_squares, leaks

DRAWS = 4000


def haar(n: int, r: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(n, r)))[0]


def assert_one_law(found: torch.Tensor, plain: np.ndarray) -> None:
    """Quantiles of one sample lie between those of the other, four errors apart."""
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        error = 4 * np.sqrt(2 * q * (1 - q) / len(plain))
        low, high = np.quantile(plain, [max(0, q - error), min(1, q + error)])
        # Where the frame fills its room the law is one number, but for rounding.
        assert low - 1e-9 <= float(found.quantile(q)) <= high + 1e-9, q


@pytest.mark.slow
@pytest.mark.parametrize(("n", "ranks"), [(50, [2, 5, 3]), (6, [4, 3, 2]), (3, [1, 3])])
def test_random_directions_are_those_of_plain_sampling(n, ranks):
    rng, plain = np.random.default_rng(0), np.empty(DRAWS)
    for i in range(DRAWS):
        M = np.hstack([haar(n, r, rng) for r in ranks])
        plain[i] = np.linalg.norm(M, 2) ** 2
    found = largest_squares(n, ranks, DRAWS, torch.Generator().manual_seed(0))
    assert_one_law(found, plain)


@pytest.mark.parametrize(
    ("rest", "rank", "room"), [(5, 3, 40), (8, 3, 8), (4, 6, 9), (6, 9, 7)]
)
def test_leaks_are_those_of_plain_sampling(rest, rank, room):
    rng, plain = np.random.default_rng(1), np.empty(DRAWS)
    values = np.linspace(3.0, 0.5, rest)
    for i in range(DRAWS):
        frame = haar(room, min(rank, room), rng)
        plain[i] = np.linalg.norm(values[:, None] * frame[:rest], 2)
    generator = torch.Generator().manual_seed(0)
    found = leaks(torch.from_numpy(values), rank, room, DRAWS, generator)
    assert_one_law(found, plain)


def test_nothing_is_left_beside_a_signal_that_fills_its_side():
    generator = torch.Generator().manual_seed(0)
    none = torch.zeros(0, dtype=torch.float64)
    assert not leaks(none, 3, 5, 7, generator).any()
    assert leaks(none, 3, 0, 7, generator).shape == (7,)
