"""All arrays of a record as one: what comes back, and what is refused."""

import json
import time
from contextlib import suppress

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given, settings

from ilora_app import wire
from tests.fuzz.damage import damage, damages
from tests.packets import bytes_of, closed, raw

ARRAYS = {
    "m.lora_B": np.arange(6, dtype="float32").reshape(3, 2),
    "head.scalar": np.full((), 7, "float32"),
    "ä\n": np.ones((0, 4), "float32"),
    "gram": np.linspace(0, 1, 5),
}
LIKE = {name: torch.from_numpy(value.copy()) for name, value in ARRAYS.items()}


def packet(header: object, data: bytes = b"") -> ArrayRecord:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return raw(len(text).to_bytes(8, "little") + text + data)


def test_arrays_come_back_in_their_order():
    found = wire.decode_checked(closed(ARRAYS), LIKE, "arrays")
    assert list(found) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert found[name].numpy().dtype == value.dtype
        np.testing.assert_array_equal(found[name].numpy(), value)
    assert wire.unpack(wire.pack({}), "arrays") == {}
    assert not wire.pack({})


def test_a_record_is_one_object_however_many_arrays_it_has():
    def objects(count: int) -> int:
        arrays = {f"{i}": np.full(4, i, "float32") for i in range(count)}
        content = RecordDict({"arrays": closed(arrays)})
        return len(get_all_nested_objects(content))

    assert objects(100) == objects(1)


def test_numbers_begin_where_eight_divides():
    for length in range(9):
        data = bytes_of(closed({"a" * length: np.ones(3)}))
        assert (len(data) - 24) % 8 == 0
        assert data.endswith(np.ones(3).tobytes())


def test_bytes_are_the_same_for_the_same_arrays():
    assert bytes_of(closed(ARRAYS)) == bytes_of(closed(dict(ARRAYS)))


F32 = "float32"
BAD = {
    "no bytes": (raw(b""), "comes in 0 bytes, expected 8 at least"),
    "short": (raw(b"abc"), "comes in 3 bytes, expected 8 at least"),
    "length": (raw(b"\xff" * 8 + b"[]"), "a header of 1844674407370955161"),
    "too long": (packet(b"[" + b" " * 2_000_001 + b"]"), "expected 2000000 at most"),
    "no JSON": (packet(b"{{"), "its header is no JSON"),
    "no text": (packet(b"\xff\xfe"), "its header is no JSON"),
    "deep": (packet(b"[" * 500_000), "its header is no JSON"),
    "digits": (packet(b'[["a","float32",' + b"9" * 5000 + b"]]"), "is no JSON"),
    "no list": (packet({"a": []}), "its header is no list"),
    "no entry": (packet(["a"]), "array 0 has no name, dtype and shape"),
    "no name": (packet([[F32, 1, 2]]), "array 0 has no name"),
    "negative": (packet([["a", F32, -1]]), "array 0 has no name"),
    "true": (packet([["a", F32, True]], bytes(4)), "array 0 has no name"),
    "fraction": (packet([["a", F32, 1.0]], bytes(4)), "array 0 has no name"),
    "sides": (packet([["a", F32, *[1] * 9]], bytes(4)), "array 0 has no name"),
    "huge side": (packet([["a", F32, 2**41]]), "array 0 has no name"),
    "huge": (packet([["a", F32, 2**40, 2**40]]), "comes in 0 bytes, expected 48"),
    "type": (packet([["a", "object", 1]], bytes(8)), "array 0 is of none of float32"),
    "twice": (packet([["a", F32, 1]] * 2, bytes(8)), "a name twice"),
    "more": (packet([["a", F32, 1]], bytes(5)), "comes in 5 bytes, expected 4"),
    "fewer": (packet([["a", F32, 1]], bytes(3)), "comes in 3 bytes, expected 4"),
    "claim": (raw(bytes_of(closed(ARRAYS)), dtype=F32), "does not hold what its"),
    "claimed shape": (raw(b"12345678", shape=(9,)), "does not hold what its header"),
    "no packet": (ArrayRecord({"packet": Array(np.ones(3))}), "does not hold what its"),
    "arrays": (ArrayRecord({"a": Array(np.ones(3))}), "1 arrays, expected one"),
    "both": (
        ArrayRecord({**closed(ARRAYS), "a": Array(np.ones(3))}),
        "2 arrays, expected one that holds all",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_nobody_writes_is_refused_at_once(name):
    record, said = BAD[name]
    clock = time.perf_counter()
    with pytest.raises(wire.WireError, match=f"arrays.*{said}") as caught:
        wire.decode_checked(record, LIKE, "arrays")
    assert time.perf_counter() - clock < 2
    assert len(str(caught.value)) < 200


@settings(max_examples=300, deadline=None)
@given(done=damages())
def test_a_damaged_packet_is_refused_or_has_the_arrays_that_it_must_have(done):
    whole = bytes_of(closed(ARRAYS))
    try:
        found = wire.decode_checked(raw(damage(whole, done)), LIKE, "arrays")
    except wire.WireError:
        return
    assert list(found) == list(LIKE)
    for name, value in found.items():
        assert value.shape == LIKE[name].shape
        assert value.dtype == LIKE[name].dtype
        assert bool(value.isfinite().all())


@settings(max_examples=200, deadline=None)
@given(done=damages())
def test_a_damaged_header_never_reaches_beyond_the_packet(done):
    """Lengths are made to fit, so that more of what is damaged is read."""
    data = bytes_of(closed(ARRAYS))
    end = 8 + int.from_bytes(data[:8], "little")
    header = damage(data[8:end], done)
    record = raw(len(header).to_bytes(8, "little") + header + data[end:])
    try:
        parts = wire.unpack(record, "arrays")
    except wire.WireError:
        return
    assert sum(len(part.data) for part in parts.values()) == len(data) - end
    for name, part in parts.items():
        with suppress(ValueError):  # numbers that nobody has rounded
            assert part.numbers(name).shape == part.shape
