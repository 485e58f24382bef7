"""What many clients with large layers lose by the cut, and drift, by estimates."""

import pytest
import torch

from ilora_app.federation.metrics import drift
from ilora_app.lora.decomposition import truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.folding import Norm, squared_distances
from ilora_app.lora.products import ProductSum
from ilora_app.methods.state import Share, Update, weights_of
from tests.test_decomposition import ORACLES
from tests.test_products import dense


def large(rank: int, seed: int, scale: float = 1.0) -> LoraFactors:
    new = torch.Generator().manual_seed(seed)
    pairs = {}
    for module in map(str, range(6)):
        B = scale * torch.randn(200, rank, generator=new)
        pairs[module] = (B, torch.randn(rank, 150, generator=new))
    return LoraFactors(pairs)


def test_what_many_clients_with_large_layers_lose_and_drift_is_close_to_the_dense_one():
    """The cut itself is exact; what it leaves, and distances, are estimates."""
    ranks = (2, 8, 4) * 9  # rho = 126, and no side of a layer is a multiple of 64
    starts = {rank: large(rank, 100) for rank in ranks}
    parts = [large(rank, k) for k, rank in enumerate(ranks)]
    share = {rank: Share(AdapterState(start, {})) for rank, start in starts.items()}
    updates = [
        Update(k, r, share[r], AdapterState(part, {}), 1.0 + k % 5, 0.5, 1.0)
        for k, (r, part) in enumerate(zip(ranks, parts, strict=True))
    ]
    weights = weights_of(updates)
    every = torch.stack([dense(part) for part in parts])
    p = torch.tensor(weights, dtype=torch.float64)
    D = (p @ every).view(6, 200, 150)

    cut, energy = truncate_mean(parts, weights, 16, "qr")
    for j, (B, A) in enumerate(pair for _, pair in cut.items()):
        expected = torch.from_numpy(ORACLES["qr"](D[j].numpy(), 16))
        exact = {"rtol": 0, "atol": 1e-10 * float(D[j].norm())}
        torch.testing.assert_close(B @ A, expected, **exact)
    kept = sum(float(A.square().sum()) for _, (_, A) in cut.items())
    assert energy[-1] == pytest.approx(kept / float(D.square().sum()), rel=0.02)
    assert truncate_mean(parts, weights, 16, "qr")[1] == energy

    moved = every - torch.stack([dense(starts[rank]) for rank in ranks])
    distances = (moved - p @ moved).norm(dim=1)
    found, _ = drift(updates, weights, 2.0)
    assert found == pytest.approx(2 * float(distances.mean()), rel=0.02)
    assert drift(updates[::-1], weights[::-1], 2.0)[0] == pytest.approx(found)


def test_distances_in_layers_that_are_not_folded_are_exact():
    """However much clients have in common of what they learned."""
    new = torch.Generator().manual_seed(0)

    def small(rank: int) -> LoraFactors:
        sides = (60, rank), (rank, 50)
        pairs = {m: tuple(torch.randn(*s, generator=new) for s in sides) for m in "xy"}
        return LoraFactors(pairs)

    whole, starts, base_of = small(8), [small(2), small(3)], [k % 2 for k in range(20)]
    parts = [
        LoraFactors(
            {
                m: (B + 0.3 * torch.randn(60, 8, generator=new), A)
                for m, (B, A) in whole.items()
            }
        )
        for _ in base_of
    ]
    weights = [(1 + k % 5) / 60 for k in range(20)]
    changes = [
        dense(one) - dense(starts[b]) for one, b in zip(parts, base_of, strict=True)
    ]
    moved, p = torch.stack(changes), torch.tensor(weights, dtype=torch.float64)
    expected = (moved - p @ moved).square().sum(dim=1)
    found = squared_distances(parts, starts, base_of, weights)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_small_layers_in_float64_are_not_written_over_by_the_next_block():
    new = torch.Generator().manual_seed(1)

    def small(rank: int) -> LoraFactors:
        sides = torch.randn(9, rank, generator=new), torch.randn(rank, 8, generator=new)
        return LoraFactors({"x": tuple(side.double() for side in sides)})

    parts, start = [small(2 + k % 2) for k in range(300)], small(2)
    weights = [1 / len(parts)] * len(parts)
    moved = torch.stack([dense(one) - dense(start) for one in parts])
    expected = (moved - moved.mean(dim=0)).square().sum(dim=1)
    found = squared_distances(parts, [start], [0] * len(parts), weights)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_an_estimated_norm_is_right_on_average_and_to_what_it_says():
    """One direction is the worst case: a standard error of 2 / sqrt(64) a layer."""
    new = torch.Generator().manual_seed(0)
    B = torch.randn(640, 1, generator=new, dtype=torch.float64)
    A = torch.randn(1, 512, generator=new, dtype=torch.float64)
    layer = ProductSum([(B, A)] * 65, [1.0] * 65)
    exact, nothing = float((65 * B @ A).square().sum()), B.new_zeros(640, 1)
    found = []
    for name in map(str, range(300)):
        norm = Norm(name, layer)
        norm.add_all()
        found.append(norm.squared(nothing, A) - float(A.square().sum()))
    ratios = torch.tensor(found) / exact
    assert float(ratios.mean()) == pytest.approx(1.0, abs=4 * 0.25 / 300**0.5)
    assert 0.15 < float(ratios.std()) < 0.3
