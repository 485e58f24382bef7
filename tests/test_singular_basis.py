"""A few singular vectors of many, against all of them."""

import pytest
import torch

from ilora_app.lora import bases
from ilora_app.lora.bases import singular_basis

RANK = 6
SHAPES = [(200, 200), (150, 400), (400, 150), (96, 96)]


def drawn(shape: tuple[int, int], values: torch.Tensor) -> torch.Tensor:
    """A matrix of these singular values."""
    torch.manual_seed(0)
    U = torch.linalg.qr(torch.randn(shape[0], len(values)).double()).Q
    V = torch.linalg.qr(torch.randn(shape[1], len(values)).double()).Q
    return (U * values) @ V.T


def none_left_out(rank: int = RANK, length: float = 1e-13) -> torch.Tensor:
    return torch.full((rank,), length, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("least", [0.5, 1e-3])
def test_they_are_those_of_the_whole_decomposition(shape, least, monkeypatch):
    values = torch.logspace(0, torch.tensor(least).log10().item(), 90).double()
    M = drawn(shape, values)
    found, kept = singular_basis(M, RANK, none_left_out())
    assert kept.tolist() == [True] * RANK
    assert torch.allclose(found.T @ found, torch.eye(RANK).double(), atol=1e-12)
    monkeypatch.setattr(bases, "_MANY", 10**9)
    right, _ = singular_basis(M, RANK, none_left_out())
    for j in range(1, RANK + 1):  # every cut, the longest direction first
        cut, best = found[:, :j], right[:, :j]
        assert torch.allclose(cut @ (cut.T @ M), best @ (best.T @ M), atol=1e-9)


def test_they_are_taken_from_a_smaller_square(monkeypatch):
    """What is measured above are not all of them."""
    asked = []
    some = bases._leading_vectors
    monkeypatch.setattr(
        bases, "_leading_vectors", lambda M, r: asked.append(M.shape) or some(M, r)
    )
    for shape in SHAPES:
        singular_basis(drawn(shape, torch.ones(90).double()), RANK, none_left_out())
    assert asked == SHAPES
    singular_basis(drawn((60, 60), torch.ones(50).double()), RANK, none_left_out())
    singular_basis(drawn((96, 96), torch.ones(50).double()), 13, none_left_out(13))
    assert asked == SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_that_squares_would_drown_are_found(shape):
    """Of 1e-9 beside 1, and none where there is none."""
    values = torch.tensor([1.0, 0.5, 1e-3, 1e-6, 1e-9]).double()
    M = drawn(shape, values)
    found, kept = singular_basis(M, RANK, none_left_out())
    assert kept.tolist() == [True] * 5 + [False]
    lengths = torch.linalg.vector_norm(found[:, :5].T @ M, dim=1)
    assert torch.allclose(lengths, values, rtol=1e-5)
    assert not singular_basis(0.0 * M, RANK, none_left_out())[1].any()


def test_it_stays_in_the_type_that_is_given():
    M = drawn((120, 130), torch.linspace(1, 2, 100).double()).float()
    assert singular_basis(M, RANK, none_left_out().float())[0].dtype == torch.float32
