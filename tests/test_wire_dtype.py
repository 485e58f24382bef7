"""Whole rounds whose numbers travel as bfloat16 or int8, and what stays exact."""

import re
from dataclasses import replace

import pytest
import torch
from flwr.app import RecordDict

from ilora_app import wire
from ilora_app.corrections import ControlVariates
from ilora_app.federation.validity import problems
from ilora_app.lora.factors import AdapterState, only
from ilora_app.methods import load
from ilora_app.methods.state import Plan
from ilora_app.node.client_state import ClientState
from ilora_app.node.instructions import Instructions
from ilora_app.node.packing import Packing
from ilora_app.settings.parsing import ConfigError
from tests.oracles import TABLE
from tests.quadratic import Problem
from tests.test_rounding import ROUNDED, SHAPES, tensors
from tests.toy import Toy


def packing(state: ClientState, number: int, taken: int, begun, dtype: str) -> Packing:
    sent = Instructions(begun, Plan(), {}, "", {}, 3, number, state)
    groups = ("lora_A", "lora_B", "head")
    return Packing(sent, wire.Encoding(dtype, number), groups, taken)


@pytest.mark.parametrize("dtype", ROUNDED)
def test_what_rounding_loses_comes_with_a_later_reply(dtype):
    """Sums over rounds telescope; a reply that was not taken leaves no trace."""
    state, taken = ClientState(RecordDict()), 0
    like = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    true, got = ({n: v.double() for n, v in like.items()} for _ in range(2))
    for number in range(1, 9):
        begun, change = tensors(100 + number), tensors(number)
        ended = {name: begun[name] + change[name] for name in SHAPES}
        record = packing(state, number, taken, begun, dtype).arrays(ended)
        if number in (3, 6):  # the server has not got it, or has not used it
            continue
        taken = number
        for name, value in wire.decode_tensors(record).items():
            true[name] += change[name]
            got[name] += value
    last = state.tensors("lost-in-rounding-pending")
    assert last is not None
    for name in SHAPES:
        assert torch.allclose(got[name], true[name] - last[name], atol=2e-6), name
        assert last[name].count_nonzero()
    # The server's word counts: what an older state holds has been sent since.
    begun = tensors(1)
    fresh = packing(state, 20, 15, begun, dtype).arrays(only(begun, ("head",)))
    nothing = wire.decode_tensors(fresh)["head.b"]
    assert nothing.count_nonzero() == 0


ROWS = [row for row in TABLE if not row.make().method.rounding_refusal]
ROWS = [row for row in ROWS if str(row) not in ("ilora", "fedit-qr", "ilora-merge")]
LAST = 4


def federation(row, dtype: str, reverse: bool = False, **common) -> Toy:
    shapes = {"encoder.query": (40, 30), "encoder.value": (24, 36)}
    problem = Problem((1, 2, 3), (10, 20, 30), shapes=shapes, steps=4, rate=0.002)
    run = Toy(row.make(wire_dtype=dtype, **common), problem)
    run.grid.reverse = reverse
    return run


def distance(one: dict, other: dict) -> float:
    gap = sum(float((one[m] - other[m]).square().sum()) for m in one)
    return (gap / sum(float(v.square().sum()) for v in other.values())) ** 0.5


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_aggregation_with_rounded_numbers(row):
    """The server knows what clients begin from, and comes close to exact numbers."""
    exact = federation(row, "float32")
    for _ in range(LAST):
        exact.round()
    gaps = []
    for dtype in ROUNDED:
        run = federation(row, dtype)
        for _ in range(LAST):
            replies = run.ask()
            plan = run.strategy.model.plan()
            groups = set(plan.down) - set(plan.own)
            taken = run.take(replies)
            assert len(taken) == (1 if row.name == "centralized" else 3)
            for t in taken:
                (request,) = run.strategy._training.requests([t.node]).values()
                known = request.share.adapter.named_tensors()
                start = t.start.named_tensors()
                assert all(
                    torch.equal(start[name], value)
                    for name, value in only(known, tuple(groups)).items()
                )
        gaps.append(distance(run.model(), exact.model()))
    assert 0 < gaps[0] < 0.02
    assert 0 < gaps[1] < 0.08


@pytest.mark.parametrize("dtype", ROUNDED)
def test_the_order_of_replies_changes_nothing(dtype):
    (row,) = (row for row in TABLE if str(row) == "ilora-default")
    one, other = (federation(row, dtype, reverse) for reverse in (False, True))
    for _ in range(3):
        one.round()
        other.round()
    for module, value in one.model().items():
        assert torch.equal(value, other.model()[module])


@pytest.mark.parametrize("basis", ["keep", "rotate"])
@pytest.mark.parametrize("dtype", ROUNDED)
def test_a_client_goes_on_with_the_control_variate_that_the_server_has(dtype, basis):
    (row,) = (row for row in TABLE if str(row) == "ilora-default")
    correction = ControlVariates(basis=basis)
    run = federation(row, dtype, drift_correction=correction)
    run.grid.settings = replace(run.grid.settings, control_basis=basis)
    run.round()
    run.round(n2="lost")
    run.round()
    parts, taken = correction.saved({1: "1", 2: "2", 3: "3"})
    assert set(taken.values()) == {3}
    for node in (1, 2, 3):
        state = ClientState(run.grid._contexts[node].state)
        held = state.tensors("control-variate-pending")
        for name, value in parts[str(node)].items():
            assert value.count_nonzero()
            assert torch.allclose(held[name], value, atol=1e-6), name
            if basis == "keep":
                assert torch.equal(held[name], value), name


def test_what_makes_no_sense_is_refused():
    for config, why in (
        ({"strategy": "lora-a2"}, "slots"),
        ({"strategy": "fedavg-full"}, "every weight"),
        ({"strategy": "local"}, "nothing is sent"),
        ({"strategy": "fedit", "initialisation": "qr"}, "QR start"),
        ({"cut": "product"}, "cut = 'update' leaves it"),
    ):
        found = problems(load({"wire-dtype": "int8", **config}))
        assert re.search(f"wire-dtype = 'int8'.*{why}", found["wire-dtype"])
    assert "wire-dtype" not in problems(load({"wire-dtype": "int8"}))
    with pytest.raises(ConfigError, match="float32, bfloat16, int8"):
        load({"wire-dtype": "int4"})


def test_ranks_share_their_first_directions():
    (row,) = (row for row in TABLE if str(row) == "flexlora")
    run = federation(row, "int8")
    run.round()
    run.ask()
    requests = run.strategy._training.requests([1, 2, 3])
    largest: AdapterState = requests[3].share.adapter
    for node, rank in ((1, 1), (2, 2)):
        found = requests[node].share.adapter.named_tensors()
        for name, value in largest.cut(rank).named_tensors().items():
            assert torch.equal(found[name], value)
