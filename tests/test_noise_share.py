"""A node's part of the noise, where nobody sees a single update."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from ilora_app import wire
from ilora_app.lora.factors import LoraFactors
from ilora_app.methods import tangent
from ilora_app.methods.state import DENSE, LEADING, MEANS, SKETCH, TANGENT, Sums
from ilora_app.methods.sums import Sketch
from ilora_app.node import noise_share
from ilora_app.node.config import NodeError
from ilora_app.node.noise_share import NoiseShare
from ilora_app.privacy.budget import Budget
from ilora_app.settings import Settings, parsing
from tests.test_release import nothing, updates

CLIP, SCALING, NODES, BITS, RANK = 0.5, 1.7, 6, 27, 4
SHARE = NoiseShare(CLIP, 2.0, SCALING, NODES, BITS)


def ways(kind: str, changed: bool = True, size: float = 50.0):
    """A node whose change is far beyond the clip: its round, what it trained, sums."""
    whole, [one] = updates(sizes=(size,), ranks=(RANK,))
    local = SimpleNamespace(start=whole)
    return local, one.adapter.named_tensors(), Sketch(Sums(kind, changed), RANK, 0)


def test_rounding_that_takes_most_of_the_clip_is_refused():
    """Else the change would be turned round, and longer than the clip."""
    for kind in (MEANS, DENSE, LEADING):
        local, trained, sketch = ways(kind)
        coarse = replace(SHARE, bits=1)
        with pytest.raises(
            NodeError, match=r"dp-clip = 0.5: expected more, as \d+ mask"
        ):
            coarse.clipped(local, trained, sketch)


def squared_change(local, found) -> float:
    """Of what a node returns as it is."""
    start = local.start.named_tensors()
    return sum(float((v - start[n]).square().sum()) for n, v in found.items())


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("size", [1e-3, 50.0])
def test_both_sums_and_the_head_change_by_no_more_than_the_clip(changed, size):
    local, trained, sketch = ways(LEADING, changed, size)
    head, terms = SHARE.clipped(local, trained, sketch)
    squared = squared_change(local, head)
    Q = {m: torch.linalg.qr(torch.randn(L.shape[0], RANK).double()).Q
         for m, (L, _) in terms.items()}  # fmt: skip
    rest = sketch.multiply(1, noise_share.behind(terms, sketch), Q)
    first = sketch.first(terms)
    for module, (B, A) in local.start.factors.items():
        P = torch.zeros_like(B @ A).double() if changed else (B @ A).double()
        before = P[:, :RANK], (Q[module].T @ P)[:, RANK:]
        assert not rest[module][:, :RANK].any()
        squared += SCALING**2 * float((first[module] - before[0]).square().sum())
        squared += SCALING**2 * float(
            (rest[module][:, RANK:] - before[1]).square().sum()
        )
    assert set(head) == {n for n in trained if n.startswith("head")}
    assert math.sqrt(squared) <= CLIP
    if size < 1:  # what is within the clip stays as it is
        for name, value in head.items():
            assert torch.allclose(value, trained[name].double())


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("size", [1e-3, 50.0])
@pytest.mark.parametrize("shorter", [1.0, 0.5])
def test_what_is_along_directions_changes_by_no_more_than_the_clip(
    changed, size, shorter
):
    """Of any server's: no longer than 1, and of another start than the node's."""
    local, trained, sketch = ways(TANGENT, changed, size)
    head, terms = SHARE.clipped(local, trained, sketch)
    assert sketch.first(terms) == {}
    squared = squared_change(local, head)
    by = {}
    for module, (L, R) in terms.items():
        E = torch.linalg.qr(torch.randn(R.shape[1], RANK).double()).Q
        Q = torch.linalg.qr(torch.randn(L.shape[0], RANK).double()).Q
        by[module] = (shorter * E, shorter * Q)
    noise_share.check(1, tangent.named(by))
    found = tangent.along(noise_share.behind(terms, sketch), by)
    before = tangent.along(local.start.factors.pairs, by)
    for name, value in found.items():
        old = 0.0 if changed else before[name]
        squared += SCALING**2 * float((value - old).square().sum())
    assert math.sqrt(squared) <= CLIP
    if size < 1:
        for name, value in head.items():
            assert torch.allclose(value, trained[name].double())


@pytest.mark.parametrize("changed", [True, False])
@pytest.mark.parametrize("size", [1e-3, 50.0])
def test_a_dense_sum_changes_by_no_more_than_the_clip(changed, size):
    local, trained, sketch = ways(DENSE, changed, size)
    head, terms = SHARE.clipped(local, trained, sketch)
    squared = squared_change(local, head)
    for module, D in sketch.first(terms).items():
        B, A = (v.double() for v in local.start.factors[module])
        assert sketch.numbers(tuple(D.shape)) == D.numel()
        old = 0.0 if changed else B @ A
        squared += SCALING**2 * float((D - old).square().sum())
    assert math.sqrt(squared) <= CLIP


@pytest.mark.parametrize("kind", [MEANS, DENSE, TANGENT])
def test_what_rounding_adds_is_taken_off_the_clip(kind):
    """Half a step of every number that is sent, all to one side, stays within it."""
    share = replace(SHARE, bits=9, draw=nothing)
    local, trained, sketch = ways(kind)
    found, terms = share.clipped(local, trained, sketch)
    start = local.start.named_tensors()
    sums = {f"up/{n}": v - start[n].double() for n, v in found.items()}
    parts = sketch.first(terms)
    if kind == TANGENT:
        directions = tangent.directions_of(local.start.factors)
        parts = tangent.along(terms, directions)
    sums |= {f"product/{m}": v for m, v in parts.items()}
    squared = most = 0.0
    for name, value in sums.items():
        unit = SCALING if name.startswith("product/") else 1.0
        squared += float((unit * value).square().sum())
        most += value.numel() * (unit * 2.0 ** -(share.bits + 1)) ** 2
    assert 0.5 * CLIP < math.sqrt(squared) <= CLIP - math.sqrt(most)


def test_factors_that_are_averaged_change_by_the_clip():
    local, trained, sketch = ways(MEANS)
    found, terms = SHARE.clipped(local, trained, sketch)
    assert not terms
    squared = squared_change(local, found)
    assert 0.99 * CLIP < math.sqrt(squared) <= CLIP


def test_as_many_shares_as_open_a_sum_are_the_noise_of_the_account():
    like = {"up/head.w": torch.zeros(300, 100), "product/m": torch.zeros(200, 100)}
    like["loss"] = torch.tensor([3.0])
    total = {name: torch.zeros_like(value).double() for name, value in like.items()}
    for _ in range(NODES):
        for name, value in SHARE.added(like).items():
            total[name] += value
    assert float(total["up/head.w"].std()) == pytest.approx(2.0 * CLIP, rel=0.02)
    product = 2.0 * CLIP / SCALING
    assert float(total["product/m"].std()) == pytest.approx(product, rel=0.02)
    assert total["loss"].tolist() == [3.0 * NODES]


def test_numbers_are_whole_steps_before_noise():
    values = {"up/head.w": torch.randn(50)}
    found = replace(SHARE, draw=nothing).added(values)["up/head.w"]
    steps = found * 2.0**BITS
    assert steps.equal(steps.round())
    assert torch.allclose(found, values["up/head.w"].double(), atol=2.0**-BITS)


def test_what_the_server_sends_to_multiply_by_makes_nothing_longer():
    Q = torch.linalg.qr(torch.randn(30, RANK)).Q
    noise_share.check(1, {"m": Q})
    with pytest.raises(wire.WireError, match="is no basis"):
        noise_share.check(1, {"m": 1.01 * Q})
    with pytest.raises(wire.WireError, match="is no basis"):
        noise_share.check(1, {"m": torch.full((30, RANK), float("nan"))})
    with pytest.raises(wire.WireError, match="two sums"):
        noise_share.check(2, {"m": Q})
    local, trained, sketch = ways(SKETCH)
    with pytest.raises(wire.WireError, match="two sums"):
        SHARE.clipped(local, trained, sketch)


def test_a_node_works_out_the_noise_itself():
    """A server may say more, and not less."""
    keys = {"dp": "client", "dp-target-epsilon": 4.0, "decomposition": "qr"}
    settings = parsing.load(parsing.dump(Settings()) | keys)
    node, own = SimpleNamespace(settings=settings), Budget.of(settings).multiplier
    for said, z in ((0.0, own), (own / 2, own), (own * 2, own * 2)):
        share = NoiseShare.of(node, {wire.NOISE: said}, NODES, BITS)
        assert share.multiplier == z
        assert share.nodes == NODES
    with pytest.raises(NodeError, match="hardly larger than the steps"):
        NoiseShare.of(node, {}, NODES, 8)
    plain = SimpleNamespace(settings=parsing.load(parsing.dump(Settings())))
    assert NoiseShare.of(plain, {}, NODES, BITS) is None


def test_products_near_each_other_have_an_exact_distance():
    torch.manual_seed(0)
    B, A = torch.randn(40, 3).double(), torch.randn(3, 50).double()
    near = LoraFactors({"m": (B, A + 1e-9)})
    L = torch.cat([near["m"][0], -B], dim=1)
    R = torch.cat([near["m"][1], A])
    exact = float((B @ (near["m"][1] - A)).square().sum())
    assert noise_share._squared(L, R) == pytest.approx(exact, rel=1e-4)
