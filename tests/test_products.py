"""Sums of many products: the same numbers as dense float64 ones, for any rho."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ilora_app.federation.metrics import drift
from ilora_app.federation.outliers import hold
from ilora_app.lora import products
from ilora_app.lora.decomposition import DECOMPOSITIONS, truncate_mean
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.ledger import Ledger
from ilora_app.lora.spread import spread, squared_norms
from ilora_app.methods import METHODS
from ilora_app.methods.state import GlobalState, Share, Update, weights_of
from tests.test_decomposition import ORACLES

SHAPES = {"tall": (40, 24), "wide": (20, 36)}
FEW, MANY = (3, 1, 4), (3, 1, 4, 2) * 9  # rho = 8, below, and 90, above every side


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    monkeypatch.setattr(products, "BLOCK", 32)


def factors(rank: int, seed: int, scale: float = 1.0) -> LoraFactors:
    new = torch.Generator().manual_seed(seed)
    pairs = {}
    for module, (d_out, d_in) in SHAPES.items():
        B = scale * torch.randn(d_out, rank, generator=new)
        pairs[module] = (B, torch.randn(rank, d_in, generator=new))
    return LoraFactors(pairs)


def dense(part: LoraFactors) -> torch.Tensor:
    return torch.cat(
        [(B.double() @ A.double()).flatten() for _, (B, A) in part.items()]
    )


def made(ranks, near: float = 1.0) -> list[Update]:
    """Updates whose products differ from what they began with by so much."""
    starts = {r: factors(r, 100) for r in set(ranks)}
    found = []
    for k, rank in enumerate(ranks):
        start, change = starts[rank], factors(rank, k)
        pairs = {
            m: (B + near * change[m][0], A + near * change[m][1])
            for m, (B, A) in start.items()
        }
        share = Share(AdapterState(start, {"w": torch.zeros(5)}))
        head = {"w": torch.arange(5.0) * k}
        end = AdapterState(LoraFactors(pairs), head)
        found.append(Update(k, rank, share, end, 1.0 + k % 5, 0.5, 1.0))
    return found


@pytest.mark.parametrize("method", DECOMPOSITIONS)
@pytest.mark.parametrize("ranks", [FEW, MANY])
def test_the_cut_of_a_mean_is_that_of_the_dense_mean(method, ranks):
    parts = [factors(rank, k) for k, rank in enumerate(ranks)]
    weights = [(1 + k % 3) / len(ranks) for k in range(len(ranks))]
    cut, energy = truncate_mean(parts, weights, 6, method)
    total, kept = 0.0, torch.zeros(6, dtype=torch.float64)
    for module in SHAPES:
        D = sum(
            w * part[module][0].double() @ part[module][1].double()
            for w, part in zip(weights, parts, strict=True)
        )
        B, A = cut[module]
        expected = torch.from_numpy(ORACLES[method](D.numpy(), 6))
        exact = {"rtol": 0, "atol": 1e-10 * float(D.norm())}
        torch.testing.assert_close(B @ A, expected, **exact)
        torch.testing.assert_close(B.T @ B, torch.eye(6).double(), rtol=0, atol=1e-12)
        total += float(D.square().sum())
        kept += A.square().sum(dim=1).cumsum(0)
    assert energy == pytest.approx((kept / total).tolist(), rel=1e-10)


@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_what_cancels_among_many_leaves_rows_of_zeros(method):
    """Every product comes and goes but one of rank 2: the rest is rounding."""
    parts = [factors(rank, k) for k, rank in enumerate(MANY)]
    left = factors(2, 999, 1e-3)
    both, signs = [*parts, left, *parts], [*[1.0] * 36, 1.0, *[-1.0] * 36]
    cut, _ = truncate_mean(both, signs, 5, method)
    for module, (B, A) in cut.items():
        expected = left[module][0].double() @ left[module][1].double()
        torch.testing.assert_close(B @ A, expected, rtol=0, atol=1e-11)
        assert not A[2:].any()


@pytest.mark.parametrize("ranks", [FEW, MANY])
def test_lengths_and_the_part_of_the_mean_are_the_dense_ones(ranks):
    updates = made(ranks, 1e-3)
    parts = [u.adapter.factors for u in updates]
    bases = list({u.rank: u.received.adapter.factors for u in updates}.values())
    base_of = [[b.rank for b in bases].index(u.rank) for u in updates]
    weights = weights_of(updates)
    own, common = spread(parts, bases, base_of, weights)
    moved = torch.stack(
        [dense(p) - dense(bases[b]) for p, b in zip(parts, base_of, strict=True)]
    )
    mean = torch.tensor(weights, dtype=torch.float64) @ moved
    lengths = moved.square().sum(dim=1)
    torch.testing.assert_close(own, lengths, rtol=1e-9, atol=0)
    torch.testing.assert_close(squared_norms(parts, bases, base_of), own)
    torch.testing.assert_close(
        common, moved @ mean, rtol=0, atol=1e-9 * float(lengths.mean())
    )


def test_drift_of_many_is_the_mean_distance_from_the_weighted_mean():
    updates = made(MANY, 0.1)
    p = weights_of(updates)
    moved = torch.stack(
        [dense(u.adapter.factors) - dense(u.received.adapter.factors) for u in updates]
    )
    heads = torch.stack([u.adapter.head["w"].double() for u in updates])
    for found, all_of, scale in zip(
        drift(updates, p, 2.0), (moved, heads), (2.0, 1.0), strict=True
    ):
        mean = torch.tensor(p, dtype=torch.float64) @ all_of
        expected = scale * float((all_of - mean).norm(dim=1).mean())
        assert found == pytest.approx(expected, rel=1e-6)


def test_norms_and_what_is_kept_do_not_depend_on_the_order_of_updates():
    """Where only sums are asked for, another order changes rounding alone."""
    updates = made(MANY)
    far = updates[7].adapter.factors
    grown = LoraFactors({m: (50 * B, A) for m, (B, A) in far.items()})
    updates[7] = replace(updates[7], adapter=AdapterState(grown, {"w": torch.ones(5)}))
    kept, out, shrunk = hold(updates, 2.0, 4.0)
    other = hold(updates[::-1], 2.0, 4.0)
    assert {u.node for u in kept} == {u.node for u in other[0]}
    assert sorted(out + shrunk) == sorted(other[1] + other[2])
    assert [node for node, _ in out + shrunk] == [7]
    method = METHODS["ilora"](decomposition="svd")
    state = GlobalState(AdapterState(factors(4, 100), {"w": torch.zeros(5)}), step=1)
    one, two = (
        method.advance(state, some).state.adapter for some in (kept, kept[::-1])
    )
    for name, value in one.named_tensors().items():
        torch.testing.assert_close(two.named_tensors()[name], value)


def test_a_ledger_takes_a_sum_of_many_products_exactly():
    parts = [factors(rank, k) for k, rank in enumerate(MANY)]
    weights = [1 / (1 + k) for k in range(len(MANY))]
    ledger = Ledger().append_sum(parts, weights).append_sum(parts[:3], weights[:3])
    twice = [w * (1 + (k < 3)) for k, w in enumerate(weights)]
    expected = sum(w * dense(p) for w, p in zip(twice, parts, strict=True))
    found = dense(LoraFactors(ledger.total))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(found.norm()))


PEAK = """
import resource, sys, torch
from ilora_app.federation.metrics import of_training
from ilora_app.federation.outliers import hold
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods import METHODS
from ilora_app.methods.state import GlobalState, Share, Update, weights_of

torch.set_num_threads(1)

def factors():
    pairs = {m: (torch.randn(256, 8), torch.randn(8, 256)) for m in map(str, range(8))}
    return LoraFactors(pairs)

def round_of(count):
    ends = [AdapterState(factors(), {}) for _ in range(count)]
    updates = [Update(k, 8, share, e, 1.0, 1.0, 1.0) for k, e in enumerate(ends)]
    before = peak()
    updates, _, _ = hold(updates, 2.0, 100.0)
    for name in sys.argv[1:]:
        made = METHODS[name]().advance(state, updates)
        of_training(updates, weights_of(updates), made.energy, [8], 2.0)
    return peak() - before

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

start = AdapterState(factors(), {})
share, state = Share(start), GlobalState(start, step=1)
round_of(300)  # a block of factors is full, and the peak of a round reached
print(round_of(1500))
"""


@pytest.mark.slow
def test_memory_beside_the_replies_does_not_grow_with_them():
    """1,500 replies are 200 MB here, 400 in float64; a tensor that is read has 1 KB."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PEAK, "ilora", "fedit"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 16 * 1200 * 1.5  # KiB, of 16 tensors and 1,200 more


def test_what_is_more_exact_than_the_clients_stays_so():
    """A sum that is zero but for rounding: means in float64 beside float32 factors."""
    B, A = torch.randn(8, 2), torch.randn(2, 6)
    whole = (B.double() / 3, A.double())
    parts = [LoraFactors({"x": (B, A)}), LoraFactors({"x": whole})]
    for ordered, weights in ((parts, [1 / 3, -1.0]), (parts[::-1], [-1.0, 1 / 3])):
        [(_, layer)] = products.of_layers(ordered, weights)
        left, right = layer.stacked
        assert float((left @ right).norm()) < 1e-14
        assert float(layer.dense()[0].norm()) < 1e-14
