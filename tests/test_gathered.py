"""What the server knows of a sum of increments is there once, and is the same sum."""

import pytest
import torch

from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.increments import gathered, received_terms, returned_terms, scale
from ilora_app.methods.server_step import ServerStep
from ilora_app.methods.state import GlobalState, Share
from tests.builders import SHAPES, random_state, update


def dense(terms) -> dict[str, torch.Tensor]:
    return {
        m: sum(w * (f[m][0].double() @ f[m][1].double()) for f, w in terms)
        for m in SHAPES
    }


def round_of(ranks, rank=6):
    state = GlobalState(random_state(rank, seed=9), step=1)
    updates = []
    for k, own in enumerate(ranks):
        share = Share(state.adapter.cut(own))
        updates.append(update(k, random_state(own, seed=k), share, 10.0 + 3 * k))
    return state, updates


@pytest.mark.parametrize(
    ("ranks", "known"),
    [([6, 6, 6], 0), ([2, 2], 4), ([6, 4, 2], 4), ([4, 4, 2], 4), ([6], 0)],
)
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_directions_that_all_received_cancel(ranks, known, eta):
    state, updates = round_of(ranks)
    start = [(state.adapter.factors, 1.0)]
    taken = scale(received_terms(updates), -eta)
    terms = ServerStep(eta).of_products(state, updates, start, eta)
    plain = [*start, *taken, *scale(returned_terms(updates), eta)]
    found, right = dense(terms), dense(plain)
    for module in SHAPES:
        torch.testing.assert_close(found[module], right[module], rtol=1e-12, atol=1e-12)
    columns = sum(factors.rank for factors, _ in terms) - sum(ranks)
    assert columns == (known if eta == 1.0 else 6)


def test_the_cut_is_that_of_the_plain_sum():
    state, updates = round_of([6, 4, 4])
    start = [(state.adapter.factors, 1.0)]
    terms = ServerStep().of_products(state, updates, start, 1.0)
    plain = [*start, *scale(received_terms(updates), -1.0), *returned_terms(updates)]
    for method in ("svd", "qr", "pivoted-qr"):
        one, other = (
            truncate_mean([f for f, _ in some], [w for _, w in some], 6, method)
            for some in (terms, plain)
        )
        assert one[1] == pytest.approx(other[1], rel=1e-9)
        found, right = dense([(one[0], 1.0)]), dense([(other[0], 1.0)])
        for module in SHAPES:
            torch.testing.assert_close(found[module], right[module])


def test_equal_numbers_elsewhere_in_memory_are_other_directions():
    factors = random_state(4, seed=1).factors
    copy = LoraFactors({m: (B.clone(), A.clone()) for m, (B, A) in factors.items()})
    terms = [(factors, 1.0), (copy, -1.0)]
    assert len(gathered(terms)) == 2
    assert gathered([(factors, 1.0), (factors.cut(4), -1.0)]) == []
    lower = AdapterState(factors, {}).cut(2).factors
    other = LoraFactors({m: (B, A * 2) for m, (B, A) in lower.items()})
    assert len(gathered([(factors, 1.0), (other, -1.0)])) == 2
