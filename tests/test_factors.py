"""Factors: pad, cut, stack, and inner products against dense sums."""

import pytest
import torch

from ilora_app.lora.factors import (
    AdapterState,
    LoraFactors,
    mean_head,
    stack,
)
from ilora_app.lora.spread import inner_products
from tests.builders import random_factors


def dense(factors: LoraFactors) -> dict[str, torch.Tensor]:
    return {m: B.double() @ A.double() for m, (B, A) in factors.items()}


def test_stack_is_the_weighted_sum_of_products_for_unequal_ranks():
    parts = [random_factors(rank, seed=rank) for rank in (1, 3, 5)]
    weights = [0.2, 0.5, 0.3]
    stacked = stack(parts, weights)
    assert stacked.rank == 9
    for module, D in dense(stacked).items():
        expected = sum(
            w * dense(p)[module] for w, p in zip(weights, parts, strict=True)
        )
        torch.testing.assert_close(D, expected, atol=1e-6, rtol=1e-6)


def test_stack_refuses_other_modules():
    with pytest.raises(ValueError, match="same modules"):
        stack([random_factors(2), LoraFactors({})], [0.5, 0.5])


def test_pad_keeps_the_product_and_cut_undoes_it():
    factors = random_factors(3)
    padded = factors.pad(7)
    assert padded.rank == 7
    for module, D in dense(padded).items():
        assert torch.equal(D, dense(factors)[module])
    for module, (B, A) in padded.cut(3).items():
        assert torch.equal(B, factors[module][0])
        assert torch.equal(A, factors[module][1])


def test_pad_and_cut_refuse_the_wrong_direction():
    with pytest.raises(ValueError, match="cannot cut factors of rank 3 to 4"):
        random_factors(3).cut(4)
    with pytest.raises(ValueError, match="cannot pad factors of rank 3 to 2"):
        random_factors(3).pad(2)


def test_inner_products_equal_dense_ones():
    parts = [random_factors(rank, seed=rank) for rank in (2, 4, 1)]
    M = inner_products(parts)
    for i, left in enumerate(parts):
        for j, right in enumerate(parts):
            expected = sum(
                (dense(left)[m] * dense(right)[m]).sum() for m, _ in left.items()
            )
            torch.testing.assert_close(M[i, j], expected)


def test_named_tensors_round_trip():
    state = AdapterState(random_factors(2), {"classifier.weight": torch.ones(3, 4)})
    again = AdapterState.from_named_tensors(state.named_tensors())
    assert list(again.head) == ["classifier.weight"]
    for module, (B, A) in state.factors.items():
        assert again.factors[module][0] is B
        assert again.factors[module][1] is A


def test_mean_head_is_weighted():
    heads = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}]
    torch.testing.assert_close(
        mean_head(heads, [0.25, 0.75])["w"], torch.tensor([2.5, 5.0])
    )
