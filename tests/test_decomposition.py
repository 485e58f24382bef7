"""truncate_product against dense oracles in float64."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora_app.lora.decomposition import (
    DECOMPOSITIONS,
    singular_values,
    truncate_product,
)


@st.composite
def products(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Stacked, weighted factors with zero and duplicate columns, and a rank."""
    d_out = draw(st.integers(2, 24))
    d_in = draw(st.integers(2, 24))
    ranks = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    weights = draw(
        st.lists(st.floats(0.01, 1.0), min_size=len(ranks), max_size=len(ranks))
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    new = {"generator": generator, "dtype": torch.float64}
    B = torch.cat([torch.randn(d_out, r, **new) for r in ranks], dim=1)
    A = torch.cat(
        [w * torch.randn(r, d_in, **new) for w, r in zip(weights, ranks, strict=True)]
    )
    for _ in range(draw(st.integers(0, 3))):
        column = draw(st.integers(0, d_in - 1))
        A[:, column] = (
            0 if draw(st.booleans()) else A[:, draw(st.integers(0, d_in - 1))]
        )
    return B, A, draw(st.integers(1, min(d_out, d_in)))


def projection_on_leading_columns(D: np.ndarray, rank: int) -> np.ndarray:
    """P D, with P the projector on the span of the first ``rank`` columns of D."""
    U, S, _ = np.linalg.svd(D[:, :rank], full_matrices=False)
    basis = U[:, 1e-10 * max(1.0, np.linalg.norm(D)) < S]
    return basis @ (basis.T @ D)


def pivoted_projection(D: np.ndarray, rank: int) -> np.ndarray:
    Q, R, order = scipy.linalg.qr(D, mode="economic", pivoting=True)
    cut = np.zeros_like(D)
    cut[:, order] = Q[:, :rank] @ R[:rank]
    return cut


def best_approximation(D: np.ndarray, rank: int) -> np.ndarray:
    U, S, Vt = np.linalg.svd(D, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ Vt[:rank]


ORACLES = {
    "qr": projection_on_leading_columns,
    "pivoted-qr": pivoted_projection,
    "svd": best_approximation,
}


@pytest.mark.parametrize("method", DECOMPOSITIONS)
@given(product=products())
@settings(max_examples=150, deadline=None)
def test_product_equals_the_dense_cut(method, product):
    B, A, rank = product
    B_r, A_r = truncate_product(B, A, rank, method)
    D = (B @ A).numpy()
    assert B_r.shape == (B.shape[0], rank)
    assert A_r.shape == (rank, A.shape[1])
    expected = ORACLES[method](D, rank)
    np.testing.assert_allclose(
        (B_r @ A_r).numpy(), expected, atol=1e-8 * max(1.0, np.linalg.norm(D))
    )


@pytest.mark.parametrize("method", DECOMPOSITIONS)
@given(product=products())
@settings(max_examples=80, deadline=None)
def test_basis_is_orthonormal_deterministic_and_nested(method, product):
    B, A, rank = product
    B_r, A_r = truncate_product(B, A, rank, method)
    eye = torch.eye(rank, dtype=B.dtype)
    torch.testing.assert_close(B_r.T @ B_r, eye, atol=1e-9, rtol=0)
    again = truncate_product(B.clone(), A.clone(), rank, method)
    assert torch.equal(B_r, again[0])
    assert torch.equal(A_r, again[1])
    for lower in range(1, rank):
        smaller = truncate_product(B, A, lower, method)
        torch.testing.assert_close(
            B_r[:, :lower] @ A_r[:lower], smaller[0] @ smaller[1], atol=1e-7, rtol=1e-7
        )


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_unpivoted_signs_and_surplus_rows(method):
    generator = torch.Generator().manual_seed(3)
    B = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(3, 10, generator=generator, dtype=torch.float64)
    B_r, A_r = truncate_product(B, A, 7, method)
    torch.testing.assert_close(B_r @ A_r, B @ A)
    assert torch.equal(A_r[3:], torch.zeros(4, 10, dtype=torch.float64))
    assert torch.isfinite(B_r).all()
    if method == "qr":
        assert (torch.diagonal(A_r)[:3] > 0).all()


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_surplus_rows_are_exactly_zero_for_dependent_factors(method):
    """rho = 6 but D has rank 3: what is left is rounding, and must not be kept."""
    generator = torch.Generator().manual_seed(6)
    B = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    A = torch.randn(3, 10, generator=generator, dtype=torch.float64)
    B_r, A_r = truncate_product(torch.cat([B, B], 1), torch.cat([A, A]), 6, method)
    torch.testing.assert_close(B_r @ A_r, 2 * B @ A)
    assert torch.equal(A_r[3:], torch.zeros(3, 10, dtype=torch.float64))


def test_qr_equals_torch_qr_of_the_dense_product():
    generator = torch.Generator().manual_seed(4)
    B = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    A = torch.randn(12, 30, generator=generator, dtype=torch.float64)
    Q, R = torch.linalg.qr(B @ A)
    signs = torch.sign(torch.diagonal(R))
    Q, R = Q * signs, R * signs[:, None]
    B_r, A_r = truncate_product(B, A, 5, "qr")
    torch.testing.assert_close(B_r, Q[:, :5])
    torch.testing.assert_close(A_r, R[:5])


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_zero_product_gives_zero_and_a_usable_basis(method):
    B_r, A_r = truncate_product(torch.randn(6, 4), torch.zeros(4, 5), 3, method)
    assert not A_r.any()
    torch.testing.assert_close(B_r.T @ B_r, torch.eye(3))


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_float32_is_close_to_float64(method):
    generator = torch.Generator().manual_seed(5)
    B = torch.randn(64, 20, generator=generator, dtype=torch.float64)
    A = torch.randn(20, 48, generator=generator, dtype=torch.float64)
    exact = torch.matmul(*truncate_product(B, A, 8, method))
    rounded = torch.matmul(*truncate_product(B.float(), A.float(), 8, method))
    torch.testing.assert_close(rounded.double(), exact, atol=1e-3, rtol=1e-4)


PEAK = """
import resource, sys, torch
from ilora_app.lora.decomposition import truncate_product
torch.set_num_threads(1)
B, A = torch.randn(4096, 64), torch.randn(64, 4096)
for method in sys.argv[1:]:
    truncate_product(B[:256], A[:, :256], 16, method)  # libraries load here
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for method in sys.argv[1:]:
    truncate_product(B, A, 16, method)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_never_forms_the_product():
    """At 4096 x 4096 the product takes 64 MiB: peak memory grows by far less."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PEAK, *DECOMPOSITIONS],
        capture_output=True,
        text=True,
        check=True,
    )
    grown = dict(zip(DECOMPOSITIONS, map(int, done.stdout.split()), strict=True))
    assert max(grown.values()) < 24 * 1024, grown  # KiB


@pytest.mark.parametrize(
    ("B", "A", "rank", "method", "message"),
    [
        (torch.ones(4, 2), torch.ones(2, 5), 0, "qr", "rank 0 is outside 1..4"),
        (torch.ones(4, 2), torch.ones(2, 5), 5, "qr", "rank 5 is outside 1..4"),
        (torch.ones(4, 2), torch.ones(3, 5), 1, "qr", r"\(4, 2\) and \(3, 5\)"),
        (torch.ones(4, 2), torch.ones(2, 5), 1, "lu", "qr, pivoted-qr, svd"),
    ],
)
def test_bad_input_is_refused(B, A, rank, method, message):
    with pytest.raises(ValueError, match=message):
        truncate_product(B, A, rank, method)


@given(products())
def test_singular_values_are_those_of_the_dense_product(case):
    B, A, _ = case
    dense = torch.linalg.svdvals(B @ A)
    found = singular_values(B, A)
    assert len(found) == min(*B.shape, A.shape[1])
    assert torch.allclose(found, dense[: len(found)], atol=1e-9 * float(dense[0]))
    assert torch.all(dense[len(found) :] <= 1e-9 * dense[0])
