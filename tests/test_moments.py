"""Second moments over a federation: who is heard for which entry, what is refused."""

import math

import pytest
import torch

from ilora_app.corrections import Returned, client_half, server_half
from ilora_app.corrections.directed import MOMENT, STEPS, TRAVELLED
from ilora_app.lora.ajive import shared_moment
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import MethodSettings, TrainingSettings

RATE, NAME, WEIGHTS = 0.1, "head.w", {1: 0.25, 2: 0.75}
SETTINGS = TrainingSettings(learning_rate=RATE)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def state(value: torch.Tensor) -> AdapterState:
    return AdapterState(LoraFactors({}), {"w": value})


def test_a_block_mean_does_not_change_with_a_rotation():
    gradient = torch.randn(6, 4, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    turned = gradient @ Q
    assert float(turned.square().mean()) == pytest.approx(
        float(gradient.square().mean())
    )
    assert not torch.allclose(turned.square(), gradient.square())


def test_an_entry_s_mean_is_over_those_who_hold_it():
    server = server_half(
        MethodSettings(drift_correction="fedlada", moment_sync="means")
    )
    like = AdapterState(LoraFactors({"m": (torch.ones(2, 3), torch.ones(3, 2))}), {})
    server.begin(like)
    uploads, moved = {}, {}
    for node, (rank, value) in {1: (1, 4.0), 2: (3, 8.0)}.items():
        flat = like.cut(rank).named_tensors()
        moved[node] = flat
        uploads[node] = {MOMENT + n: torch.full_like(v, value) for n, v in flat.items()}
        uploads[node] |= {TRAVELLED: torch.tensor(1.0), STEPS: torch.tensor(2.0)}
    server.aggregate(Returned(1, uploads, LoraFactors({}), (), moved, WEIGHTS))
    found = server.more()[MOMENT].named_tensors()["m.lora_B"]
    assert found[0].tolist() == [pytest.approx(7.0), 8.0, 8.0]
    # Who holds the others is away: theirs stay.
    server.aggregate(
        Returned(2, {1: uploads[1]}, LoraFactors({}), (), {1: moved[1]}, {1: 1.0})
    )
    found = server.more()[MOMENT].named_tensors()["m.lora_B"]
    assert found[0].tolist() == [4.0, 8.0, 8.0]


def test_entries_that_nobody_has_held_yet_begin_at_the_mean_of_the_others():
    server = server_half(
        MethodSettings(drift_correction="fedlada", moment_sync="means")
    )
    like = AdapterState(LoraFactors({"m": (torch.ones(2, 3), torch.ones(3, 2))}), {})
    server.begin(like)
    flat = like.cut(1).named_tensors()
    upload = {MOMENT + n: 5.0 * v for n, v in flat.items()}
    upload |= {TRAVELLED: torch.tensor(1.0), STEPS: torch.tensor(2.0)}
    server.aggregate(Returned(1, {1: upload}, LoraFactors({}), (), {1: flat}, {1: 1.0}))
    found = server.more()[MOMENT].named_tensors()
    assert all(value.eq(5.0).all() for value in found.values())


def test_a_tensor_without_moments_has_no_steps_behind_it():
    """As one whose first turn comes late: else its first steps would run off."""
    facts = {"drift-correction": "fedadamw", "direction-weight": 0.0}
    facts |= {"steps": [100.0], "moment-sync": "block-means", "second-moments": [-1.0]}
    half = client_half(MethodSettings(), facts, {}, state(f64(0.0)), [NAME], None, 3, 0)
    own = f64(0.0).requires_grad_()
    optimizer = half.optimizer({NAME: own}, [NAME])([own], SETTINGS)
    own.grad = f64(3.0)
    optimizer.step()
    assert float(own) == pytest.approx(-RATE)  # the length of AdamW's first step


@pytest.mark.parametrize("steps", [-1e9, 1e30])
def test_a_false_number_of_steps_does_no_harm(steps):
    server = server_half(MethodSettings(drift_correction="fedadamw"))
    server.begin(state(f64(1.0)))
    upload = {TRAVELLED: torch.tensor(1.0), STEPS: torch.tensor(steps)}
    upload |= {MOMENT + NAME: torch.tensor(2.0)}
    moved = {1: {NAME: f64(1.0)}}
    server.aggregate(Returned(1, {1: upload}, LoraFactors({}), (), moved, {1: 1.0}))
    down = server.broadcast([], LoraFactors({})).named_tensors()
    half = client_half(
        MethodSettings(), server.facts(), down, state(f64(0.0)), [NAME], None, 2, 0
    )
    own = f64(0.0).requires_grad_()
    optimizer = half.optimizer({NAME: own}, [NAME])([own], SETTINGS)
    own.grad = f64(3.0)
    optimizer.step()
    assert abs(float(own)) < 2.0


def test_by_ajive_what_clients_share_replaces_the_mean_where_it_is_above_zero():
    chosen = MethodSettings(drift_correction="fedlada", moment_sync="ajive")
    draw = torch.Generator().manual_seed(0)
    shared = torch.rand(40, 1, generator=draw) @ torch.rand(1, 3, generator=draw)
    like = AdapterState(LoraFactors({"m": (torch.ones(40, 3), torch.ones(3, 40))}), {})
    for own in (0.0, 1.0):
        server = server_half(chosen)
        server.begin(like)
        uploads, total = {}, 0.0
        for node, p in WEIGHTS.items():
            v = shared + own * torch.rand(40, 3, generator=draw)
            v[node, :] = 0.0  # a row that this client has no moments of
            total = total + p * v
            uploads[node] = {MOMENT + "m.lora_B": v, MOMENT + "m.lora_A": v.T}
            uploads[node] |= {TRAVELLED: torch.tensor(1.0), STEPS: torch.tensor(2.0)}
        moved = {node: like.named_tensors() for node in WEIGHTS}
        server.aggregate(Returned(1, uploads, LoraFactors({}), (), moved, WEIGHTS))
        found = server.more()[MOMENT].named_tensors()
        blocks = [uploads[node][MOMENT + "m.lora_B"] for node in WEIGHTS]
        joint = shared_moment(blocks, list(WEIGHTS.values()), 0).float()
        low, high = (f(torch.stack(blocks), 0) for f in (torch.amin, torch.amax))
        expected = torch.where(joint > 0, joint.clamp(low, high), total)
        torch.testing.assert_close(found["m.lora_B"], expected)
        torch.testing.assert_close(found["m.lora_A"], expected.T)
        assert (found["m.lora_B"][3:] > 0).all()


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_moments_that_are_no_squares_are_not_taken(bad):
    server = server_half(MethodSettings(drift_correction="fedadamw"))
    server.begin(state(torch.ones(1, 2)))
    for number, value in ((1, 2.0), (2, bad)):
        upload = {
            TRAVELLED: torch.tensor(1.0),
            STEPS: torch.tensor(2.0),
            MOMENT + NAME: torch.tensor(value),
        }
        moved = {1: {NAME: torch.ones(1, 2)}}
        server.aggregate(
            Returned(number, {1: upload}, LoraFactors({}), (), moved, {1: 1.0})
        )
    assert server.moments.blocks() == [2.0]
    assert server.moments.steps() == [2.0]


def test_a_false_length_of_a_client_s_way_does_not_blow_up_the_direction():
    """One that takes away what the others went would divide by next to nothing."""
    ends = []
    for claimed in (0.5, -1.4999999):
        server = server_half(MethodSettings(drift_correction="fedadamw"))
        server.begin(state(f64(1.0)))
        uploads = {
            node: {
                TRAVELLED: torch.tensor(value, dtype=torch.float64),
                STEPS: torch.tensor(2.0),
                MOMENT + NAME: torch.tensor(2.0),
            }
            for node, value in ((1, claimed), (2, 0.5))
        }
        moved = {node: {NAME: f64(1.0)} for node in WEIGHTS}
        server.aggregate(Returned(1, uploads, LoraFactors({}), (), moved, WEIGHTS))
        ends.append(float(server.broadcast([], LoraFactors({})).head["w"]))
    assert abs(ends[1]) <= abs(ends[0]) / WEIGHTS[2] + 1e-6
