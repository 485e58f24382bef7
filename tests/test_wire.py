"""What goes over the wire, and what is refused when it comes back."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from ilora_app import wire
from tests.packets import closed

EXPECTED = {"B": torch.zeros(3, 2), "A": torch.zeros(2, 4)}


def record(**changes: np.ndarray | None) -> ArrayRecord:
    arrays = {"B": np.ones((3, 2), "float32"), "A": np.ones((2, 4), "float32")}
    return closed({k: v for k, v in (arrays | changes).items() if v is not None})


def test_round_trip_of_every_dtype():
    tensors = {
        "half": torch.randn(3, 2).bfloat16(),
        "single": torch.randn(2, 5)[:, ::2],
        "double": torch.randn(4).double(),
    }
    decoded = wire.decode_tensors(wire.encode_tensors(tensors))
    for name, value in tensors.items():
        assert decoded[name].dtype == torch.float32
        assert torch.equal(decoded[name], value.float())


def test_a_good_record_passes():
    decoded = wire.decode_checked(record(), EXPECTED, "arrays")
    assert torch.equal(decoded["A"], torch.ones(2, 4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"A": None}, r"1 missing \(A\)"),
        ({"extra": np.ones(1, "float32")}, r"1 unknown \(extra\)"),
        ({"A": np.ones((1, 4), "float32")}, r"A is float32 \(1, 4\)"),
        ({"A": np.ones((2, 4), "float64")}, r"A is float64 \(2, 4\)"),
        ({"A": np.ones((2, 4), "float16")}, "array 1 is of none of float32, float64"),
        ({"A": np.ones((2, 4), "int8")}, "comes in 32 bytes, expected 40"),
        ({"A": np.full((2, 4), np.nan, "float32")}, "A holds NaN or infinity"),
        ({"A": np.full((2, 4), np.inf, "float32")}, "A holds NaN or infinity"),
    ],
)
def test_a_bad_record_is_refused_with_the_reason(changes, message):
    with pytest.raises(wire.WireError, match=message):
        wire.decode_checked(record(**changes), EXPECTED, "arrays")


def test_many_unknown_names_are_counted_not_listed():
    extra = {f"x{i}": np.ones(1, "float32") for i in range(10_000)}
    with pytest.raises(wire.WireError, match="10000 unknown") as caught:
        wire.decode_checked(record(**extra), EXPECTED, "arrays")
    assert len(str(caught.value)) < 200


def test_what_is_read_is_memory_of_its_own():
    """It may be changed where it is, and nobody else's numbers change with it."""
    sent = record()
    first, second = (wire.decode_checked(sent, EXPECTED, "arrays") for _ in range(2))
    first["A"].mul_(0)
    assert second["A"].sum() == 8


def test_a_model_for_flower_is_no_packet():
    """Who calls ``to_torch_state_dict`` on a result finds its arrays by name."""
    tensors = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    made = wire.model_record(tensors)
    for found in (made.to_torch_state_dict(), wire.model_tensors(made)):
        assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_no_record_at_all():
    with pytest.raises(wire.WireError, match="no array record"):
        wire.decode_checked(None, EXPECTED, "arrays")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0], None])
def test_numbers_must_be_finite(value):
    metrics = MetricRecord({} if value is None else {"loss": value})
    with pytest.raises(wire.WireError, match="loss is"):
        wire.number(metrics, "loss")


def test_numbers_have_a_floor():
    with pytest.raises(wire.WireError, match="expected 1 or more"):
        wire.number(MetricRecord({"num-examples": 0}), "num-examples", least=1)
    assert wire.number(MetricRecord({"num-examples": 3}), "num-examples") == 3.0


def test_bytes_are_counted_as_flower_does():
    content = RecordDict({"arrays": record(), "config": ConfigRecord({"round": 1})})
    expected = content["arrays"].count_bytes() + content["config"].count_bytes()
    assert wire.content_bytes(content) == expected
    assert expected > 4 * (6 + 8)
