"""One tensor as bfloat16 or int8: how far its numbers move, and what is refused."""

import struct

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord

from ilora_app import wire
from ilora_app.wire import rounding
from tests.packets import closed

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
        return {n: bytes(p.data) for n, p in wire.unpack(record, "record").items()}

    first = data(encoding.encode(found, "up", 1))
    assert data(encoding.encode(dict(reversed(found.items())), "up", 1)) == first
    assert data(encoding.encode(found, "up", 2))["m.lora_A"] != first["m.lora_A"]
    twins = encoding.encode({"one": found["m.lora_A"], "two": found["m.lora_A"]})
    assert data(twins)["one"] != data(twins)["two"]
    # The first directions of a larger rank are those of a smaller one.
    cut = {"m.lora_B": found["m.lora_B"][:, :2], "m.lora_A": found["m.lora_A"][:2]}
    whole = wire.decode_tensors(encoding.encode(found, "down"))
    part = wire.decode_tensors(encoding.encode(cut, "down"))
    assert torch.equal(part["m.lora_B"], whole["m.lora_B"][:, :2])
    assert torch.equal(part["m.lora_A"], whole["m.lora_A"][:2])


def refused(part: wire.Part | ArrayRecord, dtype: str, message: str) -> None:
    like = {"m.lora_A": torch.zeros(2, 3)}
    record = wire.pack({"m.lora_A": part}) if isinstance(part, wire.Part) else part
    with pytest.raises(wire.WireError, match=f"arrays.*{message}"):
        wire.decode_checked(record, like, "arrays", dtype)


def int8(scales, numbers=(1,) * 6) -> wire.Part:
    data = struct.pack("<2f", *scales) + np.array(numbers, np.int8).tobytes()
    return wire.Part("int8", (2, 3), data)


@pytest.mark.parametrize(
    ("scales", "said"), [((1, np.nan), "nan"), ((1e38, 1), "1e\\+38"), ((-1, 1), "-1")]
)
def test_a_hostile_scale_is_refused(scales, said):
    refused(int8(scales, (0,) * 6), "int8", f"has a scale of {said}")


def test_other_bytes_than_were_asked_for_are_refused():
    good = int8((1, 2))
    like = {"m.lora_A": torch.zeros(2, 3)}
    record = wire.pack({"m.lora_A": good})
    found = wire.decode_checked(record, like, "arrays", "int8")["m.lora_A"]
    assert found.tolist() == [[1.0] * 3, [2.0] * 3]
    more = wire.Part("int8", (2, 3), bytes(good.data) + b"0")
    refused(more, "int8", "comes in 15 bytes, expected 14")
    refused(int8((1, 1), (-128,) * 6), "int8", "below -127 scales")
    refused(closed({"m.lora_A": np.ones((2, 3), "float32")}), "int8", "is float32")
    refused(closed({"m.lora_A": np.ones((2, 3), "int8")}), "int8", "comes in 6 bytes")
    refused(good, "float32", "is int8")
    wide = wire.Part("bfloat16", (2, 3), b"\xc0\x7f" * 6)
    refused(wide, "bfloat16", "holds NaN or infinity")
    with pytest.raises(ValueError, match="comes in 3 bytes, expected 14"):
        rounding.unpack("m.lora_A", b"abc", (2, 3), "int8")
    with pytest.raises(wire.WireError, match="1 missing"):
        wire.decode_checked(ArrayRecord({}), like, "arrays", "int8")


def test_what_cannot_be_rounded_is_no_reply():
    with pytest.raises(wire.WireError, match="lora_A holds NaN or infinity"):
        wire.Encoding("int8").encode({"m.lora_A": torch.full((2, 3), np.inf)})
