"""The base ledger: whatever a client missed, it ends with the base of all others."""

import pytest
import torch
from flwr.app import RecordDict
from torch.utils._python_dispatch import TorchDispatchMode

from ilora_app.lora.ledger import Ledger, accumulate, compress
from ilora_app.strategies import ILoRA
from tests.builders import SHAPES, random_factors
from tests.oracles import PUBLISHED, TABLE, Row
from tests.quadratic import Problem, dense
from tests.toy import Toy

MERGING = [row for row in TABLE if str(row) in ("flora", "fedex-lora", "ilora-merge")]
merging = pytest.mark.parametrize("row", MERGING, ids=str)


def increments(count: int, rank: int = 2) -> list[dict]:
    return [dict(random_factors(rank, seed=i).pairs) for i in range(count)]


def product(value) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.double()
    return value[0].double() @ value[1].double()


def filled(parts: list[dict]) -> Ledger:
    ledger = Ledger()
    for part in parts:
        ledger = ledger.append(part)
    return ledger


def test_every_version_lacks_the_sum_of_the_later_increments():
    parts = increments(4)
    ledger = filled(parts)
    assert ledger.version == 4
    for version in range(4):
        lacking = ledger.since(version)
        for module in SHAPES:
            whole = sum(product(part[module]) for part in parts[version:])
            error = (product(lacking[module]) - whole).norm() / whole.norm()
            assert error < 1e-6
    assert ledger.since(4) == {}
    for version in (-1, 5):
        with pytest.raises(ValueError, match=f"version {version} is outside 0..4"):
            ledger.since(version)


def test_increments_are_dense_where_that_is_smaller():
    ledger = filled(increments(3, rank=2))  # rank 6: 6 * 22 > 120 and 6 * 23 > 126
    assert all(isinstance(v, torch.Tensor) for v in ledger.since(0).values())
    assert all(isinstance(v, tuple) for v in ledger.since(2).values())


def test_compression_keeps_the_product_and_drops_dependent_directions():
    pair = random_factors(2).pairs
    twice = {
        m: (torch.cat([B, B], 1), torch.cat([A, 2 * A])) for m, (B, A) in pair.items()
    }
    for module, (L, R) in compress(twice).items():
        assert L.shape[1] == len(R) == 2
        expected = 3 * product(pair[module])
        assert (product((L, R)) - expected).norm() < 1e-6 * expected.norm()
    nothing = {m: (torch.zeros_like(B), A) for m, (B, A) in pair.items()}
    assert all(L.shape[1] == 0 for L, _ in compress(nothing).values())


@pytest.mark.parametrize("energy", [0.5, 0.9])
def test_energy_keeps_the_fewest_directions_that_hold_it(energy):
    for module, (L, R) in compress(random_factors(6).pairs, energy).items():
        whole = product(random_factors(6)[module])
        U, S, V = torch.linalg.svd(whole)
        squared = (S * S).cumsum(0) / (S * S).sum()
        rank = int((squared < energy).sum()) + 1
        assert L.shape[1] == rank < 6
        best = (U[:, :rank] * S[:rank]) @ V[:rank]
        assert (product((L, R)) - best).norm() < 1e-6 * whole.norm()


def test_accumulation_adds_factors_and_dense_and_leaves_its_input():
    first, second = increments(2)
    base = accumulate({}, first)
    before = {m: t.clone() for m, t in base.items()}
    dense_second = {m: B @ A for m, (B, A) in second.items()}
    found = accumulate(base, dense_second)
    for module in SHAPES:
        whole = product(first[module]) + product(second[module])
        assert (found[module] - whole).norm() < 1e-6 * whole.norm()
        assert torch.equal(base[module], before[module])


# Node 1 never fails. Node 2 fails as the test says, node 4 joins in the third round.
@merging
@pytest.mark.parametrize("fault", ["absent", "lost", "error", "crash"])
def test_every_client_ends_with_the_same_base(row: Row, fault: str):
    run = Toy(row.make(), Problem((2, 1, 4, 3), (10, 20, 30, 40)))
    late = {"n4": "absent"}
    for faults in (late, late | {"n2": fault}, {"n2": fault}, {}, {"n2": fault}):
        run.round(**faults)
    before = run.state.ledger
    taken = run.round()
    assert [t.node for t in taken] == [1, 2, 3, 4]
    whole = dense(before.as_factors())
    for t in taken:
        for module in SHAPES:
            distance = (t.base[module] - taken[0].base[module]).norm()
            assert distance < 1e-6 * whole[module].norm()
            assert (t.base[module] - whole[module]).norm() < 1e-6 * whole[module].norm()


@merging
def test_a_client_that_lost_its_state_says_so_and_is_served_from_w0(row: Row):
    run = Toy(row.make(), Problem((2, 3), (10, 20)))
    for _ in range(2):
        run.round()
    run.grid._contexts[2].state = RecordDict()
    run.round()
    assert run.grid.replied[2].has_error()
    reason = run.grid.replied[2].error.reason
    assert "counts on base version 1, this client holds 0" in reason
    one, two = run.round()
    for module in SHAPES:
        close = 1e-6 * one.base[module].norm()
        assert (one.base[module] - two.base[module]).norm() < close


def test_part_of_the_energy_is_what_merges():
    """ilora with residual-energy 0.9: the base holds at least that of an increment."""
    strategy = ILoRA(**PUBLISHED, residual="merge", residual_energy=0.9)
    run = Toy(strategy, Problem((2, 3), (10, 20)))
    taken = run.round()
    for module in SHAPES:
        whole = sum(
            t.examples / 30 * (t.product()[module] - t.offset[module]) for t in taken
        )
        kept = product(run.state.ledger.total[module])
        lost = float(((whole - kept) ** 2).sum() / (whole**2).sum())
        assert 1e-4 < lost <= 0.1 + 1e-6


class Largest(TorchDispatchMode):
    """Size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, (tuple, list)) else (found,):
            if isinstance(value, torch.Tensor):
                self.size = max(self.size, value.numel())
        return found


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.name != "fedavg-full"], ids=str
)
def test_aggregation_forms_nothing_as_large_as_a_layer(row: Row):
    """At 200 x 150 with rho = 6; the stacked factors have fewer than 13 * 200."""
    run = Toy(
        row.make(), Problem((1, 2, 3), (10, 20, 30), shapes={"layer": (200, 150)})
    )
    run.problem.rate = 1e-4
    for _ in range(3):
        replies = run.ask()
        with Largest() as largest:
            run.take(replies)
        assert 0 < largest.size < 200 * 150 / 3
