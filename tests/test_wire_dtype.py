"""Numbers that travel as bfloat16 or int8: what they lose, and what stays exact."""

import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, RecordDict

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
from ilora_app.wire import rounding
from tests.oracles import TABLE
from tests.quadratic import Problem
from tests.toy import Toy

ROUNDED = ("bfloat16", "int8")
SHAPES = {"m.lora_B": (40, 3), "m.lora_A": (3, 50), "head.w": (7, 5), "head.b": (7,)}
NAMED = {"m.conv": (4, 3, 2, 2), "head.scalar": ()}


def tensors(seed: int = 0, size: float = 1.0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = (SHAPES | NAMED).items()
    found = {n: size * torch.randn(s, generator=draw) for n, s in shapes}
    found["head.w"][2] = 0.0
    found["m.lora_A"][1] *= 1e-6  # a direction of its own size
    return found


def there_and_back(found, dtype: str, seed: int = 0):
    return wire.decode_tensors(wire.Encoding(dtype, seed).encode(found, "here"))


def steps(name: str, value: torch.Tensor, dtype: str) -> torch.Tensor:
    """Between the two numbers of the type that are nearest."""
    if dtype == "bfloat16":
        return 2.0**-7 * value.abs()
    if value.ndim < 2:
        return value.abs().max().expand(value.shape) / 127
    if name.endswith("lora_B"):
        return value.abs().amax(0, keepdim=True).expand_as(value) / 127
    rows = value.reshape(len(value), -1).abs().amax(1)
    return rows.reshape(-1, *[1] * (value.ndim - 1)).expand_as(value) / 127


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_a_number_moves_by_less_than_one_step(dtype, size):
    for seed in range(5):
        found = tensors(seed, size)
        back = there_and_back(found, dtype, seed)
        for name, value in found.items():
            assert back[name].dtype == torch.float32
            assert back[name].shape == value.shape
            lost = (back[name] - value).abs()
            assert (lost <= steps(name, value, dtype) * (1 + 1e-5)).all(), name
            assert (value != 0).all() or back[name][value == 0].count_nonzero() == 0


@pytest.mark.parametrize("dtype", ROUNDED)
def test_the_mean_over_many_draws_is_the_number_itself(dtype):
    found, count = tensors(), 400
    total = {name: torch.zeros_like(v).double() for name, v in found.items()}
    for seed in range(count):
        for name, value in there_and_back(found, dtype, seed).items():
            total[name] += value
    for name, value in found.items():
        error = (total[name] / count - value.double()).abs()
        # A draw of two values has at most the deviation 1/2: six of the mean's.
        bound = 3 * steps(name, value, dtype) / count**0.5
        assert (error <= bound + 1e-12).all(), name
    moved = there_and_back(found, dtype)["m.lora_A"] != found["m.lora_A"]
    assert moved.float().mean() > 0.9


@pytest.mark.parametrize("dtype", ROUNDED)
def test_bytes_hang_on_seed_place_and_name_alone(dtype):
    found, encoding = tensors(), wire.Encoding(dtype, 3)

    def data(record: ArrayRecord) -> dict[str, bytes]:
        return {name: array.data for name, array in record.items()}

    first = data(encoding.encode(found, "up", 1))
    assert data(encoding.encode(dict(reversed(found.items())), "up", 1)) == first
    assert data(encoding.encode(found, "up", 2))["m.lora_A"] != first["m.lora_A"]
    twins = encoding.encode({"one": found["m.lora_A"], "two": found["m.lora_A"]})
    assert twins["one"].data != twins["two"].data
    # The first directions of a larger rank are those of a smaller one.
    cut = {"m.lora_B": found["m.lora_B"][:, :2], "m.lora_A": found["m.lora_A"][:2]}
    whole = wire.decode_tensors(encoding.encode(found, "down"))
    part = wire.decode_tensors(encoding.encode(cut, "down"))
    assert torch.equal(part["m.lora_B"], whole["m.lora_B"][:, :2])
    assert torch.equal(part["m.lora_A"], whole["m.lora_A"][:2])


def refused(array: Array, dtype: str, message: str) -> None:
    like = {"m.lora_A": torch.zeros(2, 3)}
    record = ArrayRecord({"m.lora_A": array})
    with pytest.raises(wire.WireError, match=f"arrays: m.lora_A.*{message}"):
        wire.decode_checked(record, like, "arrays", dtype)


def int8(scales, numbers=(1,) * 6) -> Array:
    data = struct.pack("<2f", *scales) + np.array(numbers, np.int8).tobytes()
    return Array("int8", (2, 3), rounding.STYPE, data)


@pytest.mark.parametrize(
    ("scales", "said"), [((1, np.nan), "nan"), ((1e38, 1), "1e\\+38"), ((-1, 1), "-1")]
)
def test_a_hostile_scale_is_refused(scales, said):
    refused(int8(scales, (0,) * 6), "int8", f"has a scale of {said}")


def test_other_bytes_than_were_asked_for_are_refused():
    good = int8((1, 2))
    like = {"m.lora_A": torch.zeros(2, 3)}
    record = ArrayRecord({"m.lora_A": good})
    found = wire.decode_checked(record, like, "arrays", "int8")["m.lora_A"]
    assert found.tolist() == [[1.0] * 3, [2.0] * 3]
    more = Array("int8", (2, 3), rounding.STYPE, good.data + b"0")
    refused(more, "int8", "comes in 15 bytes, expected 14")
    refused(int8((1, 1), (-128,) * 6), "int8", "below -127 scales")
    refused(Array(np.ones((2, 3), "float32")), "int8", "is float32")
    refused(Array(np.ones((2, 3), "int8")), "int8", "does not hold")
    refused(good, "float32", "is int8")
    wide = Array("bfloat16", (2, 3), rounding.STYPE, b"\xc0\x7f" * 6)
    refused(wide, "bfloat16", "holds NaN or infinity")
    with pytest.raises(wire.WireError, match="1 missing"):
        wire.decode_checked(ArrayRecord({}), like, "arrays", "int8")


def test_what_cannot_be_rounded_is_no_reply():
    with pytest.raises(wire.WireError, match="lora_A holds NaN or infinity"):
        wire.Encoding("int8").encode({"m.lora_A": torch.full((2, 3), np.inf)})


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
