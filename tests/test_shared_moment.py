"""The joint part of clients' second moments."""

import numpy as np
import pytest
import torch

from ilora_app.lora.ajive import joint_basis, joint_parts, shared_moment

ONES = torch.ones(4, 2)


def moments(widths: tuple[int, ...]) -> list[torch.Tensor]:
    """Positive numbers of which the rows' scale is shared, as second moments are."""
    draw = torch.Generator().manual_seed(1)
    new = {"generator": draw, "dtype": torch.float64}
    scale = torch.randn(40, 1, **new).exp()
    return [scale * torch.randn(40, d, **new).square() for d in widths]


def test_the_shared_moment_is_the_mean_of_padded_joint_parts():
    found, weights = moments((8, 4, 6)), [0.5, 0.3, 0.2]
    shared = shared_moment([v.float() for v in found], weights, seed=0)
    assert shared.dtype == torch.float32
    ranks = []
    for v in found:
        energy = np.linalg.svd(v.numpy(), compute_uv=False) ** 2
        ranks.append(int(np.argmax(energy.cumsum() >= 0.9 * energy.sum())) + 1)
    assert len(set(ranks)) > 1
    joint = joint_basis(found, ranks, seed=0)
    assert joint.rank > 0
    expected = torch.zeros(40, 8, dtype=torch.float64)
    for p, J in zip(weights, joint_parts(found, joint), strict=True):
        expected[:, : J.shape[1]] += p * J
    torch.testing.assert_close(
        shared.double(), expected.clamp(min=0.0), atol=1e-4, rtol=1e-4
    )


def test_the_shared_moment_is_never_negative():
    """A cut of positive numbers may be negative, and its root is to be taken."""
    v = torch.tensor([[6.0, 3.0, 0.0], [3.0, 6.0, 3.0], [0.0, 3.0, 6.0]])
    joint = joint_basis([v, v], [2, 2], seed=0)
    assert joint_parts([v, v], joint)[0].min() < -0.4
    shared = shared_moment([v, v], [0.5, 0.5], seed=0)
    assert (shared.min() == 0.0) & (shared.max() > 5.0)


def test_identical_moments_of_full_signal_rank_stay_as_they_are():
    flat = torch.eye(6, dtype=torch.float64).repeat(3, 1)
    found = shared_moment([flat, flat], [0.25, 0.75], seed=0)
    torch.testing.assert_close(found, flat, atol=1e-12, rtol=0)


def test_the_order_of_clients_changes_nothing_but_for_rounding():
    found, weights = moments((8, 4, 8, 6)), [0.1, 0.2, 0.3, 0.4]
    turned = shared_moment(found[::-1], weights[::-1], seed=0)
    torch.testing.assert_close(shared_moment(found, weights, seed=0), turned)
    assert turned.any()


def test_moments_of_zeros_give_zeros():
    zero = torch.zeros(9, 3)
    assert torch.equal(shared_moment([zero, zero[:, :2]], [0.5, 0.5], seed=0), zero)


@pytest.mark.parametrize(
    ("blocks", "ranks", "draws", "message"),
    [
        ([], [], 9, "0 blocks, one at least"),
        ([ONES, ONES], [1], 9, "2 blocks, one at least, and 1 ranks"),
        ([ONES, ONES.T], [1, 1], 9, r"one number of rows: \[\(4, 2\), \(2, 4\)\]"),
        ([ONES[0]], [1], 9, "blocks must be matrices"),
        ([ONES], [0], 9, "rank 0 is outside 1..2"),
        ([ONES], [3], 9, r"rank 3 is outside 1..2 for a block of shape \(4, 2\)"),
        ([ONES, ONES / 0], [1, 1], 9, "block 1 holds numbers that are not finite"),
        ([ONES], [1], 0, "one draw at least, not 0"),
    ],
)
def test_bad_blocks_are_refused(blocks, ranks, draws, message):
    with pytest.raises(ValueError, match=message):
        joint_basis(blocks, ranks, 0, draws)


@pytest.mark.parametrize(
    ("moments", "weights", "message"),
    [
        ([ONES, ONES], [1.0], "2 moments need as many weights"),
        ([ONES, ONES], [1.0, -0.5], "none negative"),
        ([ONES], [float("nan")], "must be finite"),
        ([ONES, ONES * float("nan")], [0.5, 0.5], "block 1 holds numbers"),
        ([], [], "0 blocks"),
    ],
)
def test_bad_moments_are_refused(moments, weights, message):
    with pytest.raises(ValueError, match=message):
        shared_moment(moments, weights, 0)
