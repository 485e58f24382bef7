"""What Gram matrices tell of a product, against the product."""

import pytest
import torch

from ilora_app.lora import decomposition, gram
from ilora_app.lora.decomposition import truncate_product
from ilora_app.lora.gram import gram_norm, leading_directions, leading_eigenvectors

RANK = 6


def drawn(
    d_out: int, rho: int, d_in: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    new = torch.Generator().manual_seed(seed)
    lengths = torch.logspace(0, -2, rho, dtype=torch.float64)
    B = torch.randn(d_out, rho, generator=new, dtype=torch.float64) * lengths
    return B, torch.randn(rho, d_in, generator=new, dtype=torch.float64)


@pytest.mark.parametrize("rank", [5, 64, 65, 200])
def test_the_norm_of_a_product_from_its_halves_is_the_dense_one(rank):
    """Also where Gram matrices are split, and again."""
    new = torch.Generator().manual_seed(rank)
    B = torch.randn(30, rank, generator=new, dtype=torch.float64)
    A = torch.randn(rank, 20, generator=new, dtype=torch.float64) + 0.3
    dense_norm = float((B @ A).square().sum())
    assert gram_norm(B, A) == pytest.approx(dense_norm, rel=1e-12)


@pytest.mark.parametrize("size", [20, 230])
def test_eigenvectors_come_with_roots_the_largest_first(size):
    """Some of many, and all of few."""
    M, _ = drawn(300, size, 1)
    S, V = leading_eigenvectors(M.T @ M, RANK)
    assert torch.allclose(S, torch.linalg.svdvals(M)[:RANK], rtol=1e-10)
    assert torch.allclose(V.T @ V, torch.eye(RANK).double(), atol=1e-12)
    assert torch.allclose(torch.linalg.vector_norm(M @ V, dim=0), S, rtol=1e-10)


@pytest.mark.parametrize("shape", [(300, 40, 200), (120, 90, 400), (240, 220, 240)])
def test_directions_are_those_of_the_dense_product(shape):
    B, A = drawn(*shape)
    U, squared = leading_directions(B, A, RANK)
    D = B @ A
    best = torch.linalg.svd(D).U[:, :RANK]
    for j in range(1, RANK + 1):  # every cut, the longest direction first
        cut, right = U[:, :j], best[:, :j]
        assert torch.allclose(cut @ (cut.T @ D), right @ (right.T @ D), atol=1e-9)
    assert squared == pytest.approx(float(D.square().sum()), rel=1e-12)


def test_factors_that_depend_on_each_other_have_their_directions():
    """Twice the same rows, zeros, and fewer rows than features: A A^T is singular."""
    B, A = drawn(150, 30, 100)
    A[20:] = A[:10]
    A[7] = 0.0
    B[:, 3] = 0.0
    U, _ = leading_directions(B, A, RANK)
    best = torch.linalg.svd(B @ A).U[:, :RANK]
    assert torch.allclose(U @ U.T, best @ best.T, atol=1e-10)


@pytest.mark.parametrize("least", [1e-7, 0.0])
def test_what_squares_would_drown_is_left_to_others(least):
    """A product of five long directions and one short one, and of nothing."""
    B, A = drawn(150, 30, 100)
    B = B[:, :5] @ torch.ones(5, 30).double() + least * B
    assert leading_directions(B, A, RANK) is None
    assert leading_directions(0.0 * B, A, RANK) is None


def test_what_cancels_between_factors_is_no_precision():
    """D is short beside the factors whose difference it is: squares of those round."""
    B, A = drawn(150, 15, 100)
    apart = torch.cat([B, B + 1e-6 * drawn(150, 15, 1, seed=1)[0]], dim=1)
    both = torch.cat([A, -A])
    assert leading_directions(apart, both, RANK) is None
    exact = torch.linalg.svd(apart @ both).U[:, :RANK]
    U, _ = truncate_product(apart, both, RANK, "svd")
    assert torch.allclose(U @ U.T, exact @ exact.T, atol=1e-6)


def test_svd_asks_for_them_where_they_can_be_had(monkeypatch):
    asked = []
    own = gram.leading_directions
    monkeypatch.setattr(
        decomposition,
        "leading_directions",
        lambda B, A, rank: asked.append(rank) or own(B, A, rank),
    )
    B, A = drawn(50, 20, 40)
    truncate_product(B, A, 4, "svd")
    assert asked == [4]
    truncate_product(B, A, 4, "pivoted-qr")
    truncate_product(B, A, 20, "svd")  # all directions that there are
    truncate_product(B.float(), A.float(), 4, "svd")
    truncate_product(B[:10], A, 4, "svd")  # more columns than rows
    assert asked == [4]
