"""AJIVE against the numbers of mvlearn and planted joint signals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ilora_app.lora.ajive import joint_basis, joint_parts

REFERENCE = json.loads((Path(__file__).parent / "references/ajive.json").read_text())


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def planted(seed: int, joint: int, noise: float = 0.3):
    """Blocks of a joint signal, own signals and noise, their ranks, the joint space."""
    n, widths, own = 60, (24, 20, 30), (1, 2, 3)
    U = torch.linalg.qr(normal(n, joint, seed=seed)).Q
    blocks = []
    for k, (d, r) in enumerate(zip(widths, own, strict=True)):
        new = 100 * seed + 10 * k
        shared = 8 * U @ normal(joint, d, seed=new + 1)
        individual = normal(n, r, seed=new + 2) @ normal(r, d, seed=new + 3)
        blocks.append(shared + individual + noise * normal(n, d, seed=new + 4))
    return blocks, [joint + r for r in own], U


def sine(U: torch.Tensor, V: torch.Tensor) -> float:
    """Sine of the largest angle between two spaces of one dimension."""
    return float(torch.linalg.matrix_norm(U - V @ (V.T @ U), ord=2))


@pytest.mark.parametrize("case", REFERENCE["cases"])
def test_numbers_are_those_of_mvlearn(case):
    stored = REFERENCE["cases"][case]
    blocks = [torch.tensor(X).double() / 1000 for X in stored["blocks"]]
    joint = joint_basis(blocks, stored["ranks"], seed=3, draws=REFERENCE["draws"])
    expected = torch.tensor(stored["squared"], dtype=torch.float64)
    torch.testing.assert_close(joint.squared, expected, atol=1e-8, rtol=0)
    # The same percentile of another sample lies between the reference's neighbours.
    assert stored["wedin"][0] < joint.wedin < stored["wedin"][2]
    assert stored["random"][0] < joint.random < stored["random"][2]
    above = int((joint.squared > max(joint.wedin, joint.random)).sum())
    assert above == stored["rank_of_bounds"]
    assert joint.rank == stored["rank"] == joint.basis.shape[1]
    for k, J in enumerate(joint_parts(blocks, joint)):
        zero = torch.zeros_like(J)
        part = torch.tensor(stored["parts"][k]).double() if joint.rank else zero
        torch.testing.assert_close(J, part, atol=1e-6, rtol=0)


def test_the_reference_tells_its_cases_apart():
    """Each bound decides one case, and one direction fails in a block alone."""
    cases = REFERENCE["cases"]
    assert [case["rank"] for case in cases.values()] == [2, 1, 0, 1]
    assert cases["joint"]["wedin"][0] > cases["joint"]["random"][2]
    assert cases["dropped"]["wedin"][2] < cases["dropped"]["random"][0]
    assert cases["dropped"]["rank_of_bounds"] == 2


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_planted_joint_signal_is_found(seed):
    blocks, ranks, U = planted(seed, joint=2)
    joint = joint_basis(blocks, ranks, seed=0)
    assert joint.rank == 2
    assert sine(U, joint.basis) < 0.1
    eye = torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(joint.basis.T @ joint.basis, eye, atol=1e-9, rtol=0)
    for X, J in zip(blocks, joint_parts(blocks, joint), strict=True):
        torch.testing.assert_close(J, joint.basis @ (joint.basis.T @ X))


@pytest.mark.parametrize("seed", range(1, 6))
def test_unrelated_blocks_have_nothing_in_common(seed):
    blocks, ranks, _ = planted(seed, joint=0)
    joint = joint_basis(blocks, ranks, seed=0)
    assert joint.rank == 0
    assert joint.basis.shape == (60, 0)
    assert not any(J.any() for J in joint_parts(blocks, joint))


@pytest.mark.parametrize(
    ("cosine", "rest", "rank"), [(0.9, 0.7, 1), (0.4, 0.7, 0), (0.9, 0.1, 0)]
)
def test_each_bound_refuses_by_itself(cosine, rest, rank):
    """Two signals at an angle: s^2 = 1 + cosine, w = 2 - 2 rest^2 exactly, q near 1.6.

    The first is above both bounds, the second below q alone, the third below w alone.
    """
    blocks = []
    for sign in (1.0, -1.0):
        turn = torch.eye(12, dtype=torch.float64)
        half = torch.tensor(cosine).acos() / 2 * sign
        turn[0, 0] = turn[1, 1] = half.cos()
        turn[1, 0], turn[0, 1] = half.sin(), -half.sin()
        values = torch.full((12,), rest, dtype=torch.float64)
        values[0] = 1.0
        blocks.append(turn * values)
    joint = joint_basis(blocks, [1, 1], seed=0)
    assert float(joint.squared[0]) == pytest.approx(1 + cosine)
    assert joint.wedin == pytest.approx(2 - 2 * rest**2)
    assert 1.45 < joint.random < 1.7
    assert joint.rank == rank


def test_identical_clients_keep_what_they_have():
    X = normal(40, 6).square()
    blocks = [X, X.clone(), X.clone()]
    whole = joint_basis(blocks, [6, 6, 6], seed=0)
    assert whole.rank == 6
    assert bool(((whole.squared >= 0) & (whole.squared <= 3)).all())  # rounding, too
    for J in joint_parts(blocks, whole):
        torch.testing.assert_close(J, X, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_no_direction_is_lost_to_rounding_where_singular_values_are_equal(seed):
    """Halfway between equal ones is the length of every signal direction itself."""
    X = torch.linalg.qr(normal(40, 6, seed=seed)).Q
    assert joint_basis([X, X, X], [4, 4, 4], seed=0).rank == 4


def test_a_single_client_is_cut_to_its_signal_rank():
    X = normal(30, 8)
    joint = joint_basis([X], [3], seed=0)
    U, S, Vt = torch.linalg.svd(X, full_matrices=False)
    torch.testing.assert_close(
        joint_parts([X], joint)[0], (U[:, :3] * S[:3]) @ Vt[:3], atol=1e-10, rtol=0
    )


def test_equal_blocks_of_lower_rank_than_asked_for():
    """Scales apart they are one: no direction of rounding alone is taken as signal."""
    X = normal(40, 2) @ normal(2, 6, seed=1)
    blocks = [X, 3.3 * X, 1e-6 * X]
    joint = joint_basis(blocks, [5, 5, 5], seed=0)
    assert joint.rank == 2
    assert joint.squared.shape == (6,)
    for block, J in zip(blocks, joint_parts(blocks, joint), strict=True):
        torch.testing.assert_close(J, block, atol=1e-9, rtol=1e-9)


def test_signal_spaces_that_fill_the_rows_share_all():
    """With every r_k = n both bounds are K, as s_i^2 is."""
    blocks = [normal(4, 7, seed=k) for k in range(3)]
    joint = joint_basis(blocks, [4, 4, 4], seed=0)
    assert joint.rank == 4
    torch.testing.assert_close(joint_parts(blocks, joint)[2], blocks[2])


def test_blocks_of_zeros_share_nothing():
    zero, X = torch.zeros(9, 3), normal(9, 3)
    for blocks in ([zero, zero], [X, X, zero]):
        joint = joint_basis(blocks, [2] * len(blocks), seed=0)
        assert joint.rank == 0
        assert joint.wedin == joint.random == len(blocks)
        assert not any(J.any() for J in joint_parts(blocks, joint))


def test_the_order_of_clients_changes_nothing_but_for_rounding():
    blocks, ranks, _ = planted(7, joint=2, noise=0.6)
    order = [2, 0, 1]
    joint = joint_basis(blocks, ranks, seed=0)
    other = joint_basis([blocks[k] for k in order], [ranks[k] for k in order], seed=0)
    assert (joint.wedin, joint.random) == (other.wedin, other.random)
    torch.testing.assert_close(joint.squared, other.squared, atol=1e-12, rtol=0)
    assert sine(joint.basis, other.basis) < 1e-12


def test_one_seed_gives_one_result_and_moves_no_other_generator():
    blocks, ranks, _ = planted(8, joint=1)
    before = torch.get_rng_state()
    first, again, other = (joint_basis(blocks, ranks, seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.basis, again.basis)
    assert (first.wedin, first.random) == (again.wedin, again.random)
    assert first.wedin != other.wedin
    assert first.random != other.random


PEAK = """
import resource, torch
from ilora_app.lora.ajive import joint_basis
blocks = [torch.rand(8192, 16, dtype=torch.float64) for _ in range(8)]
joint_basis([X[:256] for X in blocks], [8] * 8, 0, 2)  # libraries load here
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
joint_basis(blocks, [8] * 8, 0, 2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_square_of_the_rows_is_formed():
    """At n = 8192 that takes 512 MiB: peak memory grows by far less."""
    command = [sys.executable, "-P", "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024  # KiB


ONES = torch.ones(4, 2)


def test_parts_of_blocks_with_other_rows_are_refused():
    joint = joint_basis([ONES], [1], 0)
    with pytest.raises(ValueError, match="a matrix of 4 rows"):
        joint_parts([ONES.T], joint)
