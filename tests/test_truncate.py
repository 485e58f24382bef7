"""An adapter of any rank is the best approximation of the global update."""

import pytest
import torch

from ilora_app.export.truncate import truncated
from ilora_app.lora.factors import AdapterState, LoraFactors
from tests.builders import random_factors, random_state


def dense(factors: LoraFactors) -> dict[str, torch.Tensor]:
    return {m: B.double() @ A.double() for m, (B, A) in factors.items()}


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_it_is_the_best_of_its_rank(rank):
    whole = random_state(6)
    cut, energy = truncated(whole, rank)
    assert cut.factors.rank == rank
    assert cut.head is whole.head
    kept, total = 0.0, 0.0
    for module, D in dense(whole.factors).items():
        U, S, V = torch.linalg.svd(D, full_matrices=False)
        best = (U[:, :rank] * S[:rank]) @ V[:rank]
        torch.testing.assert_close(dense(cut.factors)[module], best, atol=1e-5, rtol=0)
        kept += float((S[:rank] ** 2).sum())
        total += float((S**2).sum())
    assert energy == pytest.approx(kept / total)
    assert (energy == pytest.approx(1.0)) == (rank == 6)


def test_singular_values_are_shared_by_both_sides():
    cut, _ = truncated(random_state(6), 3)
    for B, A in cut.factors.pairs.values():
        torch.testing.assert_close(B.norm(dim=0), A.norm(dim=1))


def test_a_layer_smaller_than_the_rank_keeps_all_it_has():
    pairs = {"small": (torch.randn(4, 6), torch.randn(6, 5)), **random_factors(6).pairs}
    whole = AdapterState(LoraFactors(pairs), {})
    cut, _ = truncated(whole, 5)
    B, A = cut.factors["small"]
    assert (B.shape, A.shape) == ((4, 5), (5, 5))
    torch.testing.assert_close(
        dense(cut.factors)["small"], dense(whole.factors)["small"], atol=1e-5, rtol=0
    )


def test_an_update_of_nothing():
    zero = LoraFactors({m: (0 * B, A) for m, (B, A) in random_factors(3).items()})
    cut, energy = truncated(AdapterState(zero, {}), 2)
    assert energy == 1.0
    assert all(not D.any() for D in dense(cut.factors).values())


@pytest.mark.parametrize("rank", [0, 7])
def test_ranks_that_there_are_not(rank):
    with pytest.raises(ValueError, match=f"rank {rank}: expected 1 to 6"):
        truncated(random_state(6), rank)
