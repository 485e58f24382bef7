"""All arrays of a record as one of Flower's, whose costs are by object, not by byte.

    8 bytes   length of the header, little-endian
    header    JSON, [[name, dtype, d_1, d_2, ...], ...], and spaces to a multiple of 8
    the rest  the bytes of each array, in this order, one after the other

How many bytes an array has follows from its dtype and shape: there are no places that
could overlap, lie outside, or leave something out.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from ilora_app.wire import rounding
from ilora_app.wire.errors import WireError

STYPE, NAME = "ilora.packet", "packet"

_PLAIN = {"float32": "<f4", "float64": "<f8"}
_DTYPES = (*_PLAIN, rounding.BFLOAT16, rounding.INT8)
_LENGTH, _ALIGNED = 8, 8
_MOST_HEADER, _MOST_SIDES, _LONGEST_SIDE = 2_000_000, 8, 2**40


@dataclass(frozen=True)
class Part:
    """One array of a packet.

    Attributes:
        dtype: float32, float64, bfloat16 or int8.
        shape: of the numbers.
        data: their bytes, little-endian; of rounded ones as ``rounding`` lays them out.

    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @classmethod
    def exact(cls, values: NDArray[np.floating[Any]]) -> "Part":
        """Numbers as they are, float32 or float64, without a copy where it can be."""
        dtype = values.dtype.name
        flat = np.ascontiguousarray(values, dtype=_PLAIN[dtype]).reshape(-1)
        return cls(dtype, values.shape, flat.view(np.uint8).data)

    def numbers(self, name: str) -> NDArray[np.floating[Any]]:
        """The numbers, in memory of their own; rounded ones as float32.

        Raises:
            ValueError: rounded ones that nobody has rounded, with what is wrong.

        """
        if self.dtype in _PLAIN:
            found = np.frombuffer(self.data, _PLAIN[self.dtype])
            return found.astype(self.dtype).reshape(self.shape)
        return rounding.unpack(name, self.data, self.shape, self.dtype)


def pack(parts: Mapping[str, Part]) -> ArrayRecord:
    """Write arrays as one; none are an empty record."""
    if not parts:
        return ArrayRecord()
    listed = [[name, part.dtype, *part.shape] for name, part in parts.items()]
    header = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNED)
    length = len(header).to_bytes(_LENGTH, "little")
    data = b"".join([length, header, *(part.data for part in parts.values())])
    return ArrayRecord({NAME: Array("uint8", (len(data),), STYPE, data)})


def unpack(record: object, what: str) -> dict[str, Part]:
    """Read what :func:`pack` wrote; nothing is copied, and no number looked at.

    Args:
        record: of another party.
        what: its name, for the message.

    Raises:
        WireError: it is no packet, its header is too long or cannot be read, or it has
            more or fewer bytes than its header says.

    """
    if not isinstance(record, ArrayRecord):
        raise WireError(f"{what}: no array record in the reply")
    if not record:
        return {}
    if list(record) != [NAME]:
        raise WireError(f"{what}: {len(record)} arrays, expected one that holds all")
    array = record[NAME]
    data = memoryview(array.data)
    if (array.dtype, array.shape, array.stype) != ("uint8", (len(data),), STYPE):
        raise WireError(f"{what} does not hold what its header says")
    if len(data) < _LENGTH:
        text = f"{what} comes in {len(data)} bytes, expected {_LENGTH} at least"
        raise WireError(text)
    length = int.from_bytes(data[:_LENGTH], "little")
    most, start = min(len(data) - _LENGTH, _MOST_HEADER), _LENGTH + length
    if length > most:
        text = f"{what}: a header of {length} bytes, expected {most} at most"
        raise WireError(text)
    parts, at = dict[str, Part](), start
    for name, dtype, shape, size in _listed(data[_LENGTH:start], what):
        if name in parts:
            raise WireError(f"{what}: a name twice")
        parts[name] = Part(dtype, shape, data[at : at + size])
        at += size
    if at != len(data):
        raise WireError(
            f"{what} comes in {len(data) - start} bytes, expected {at - start}"
        )
    return parts


def _listed(
    header: memoryview, what: str
) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Name, dtype, shape and bytes of each array."""
    try:
        entries = json.loads(str(header, "utf-8"))
    except (ValueError, RecursionError) as error:
        text = f"{what} cannot be read: its header is no JSON"
        raise WireError(text) from error
    if not isinstance(entries, list):
        raise WireError(f"{what}: its header is no list")
    for number, entry in enumerate(entries):
        if not _is_entry(entry):
            raise WireError(f"{what}: array {number} has no name, dtype and shape")
        name, dtype, *shape = entry
        if dtype not in _DTYPES:
            right = ", ".join(_DTYPES)
            raise WireError(f"{what}: array {number} is of none of {right}")
        yield name, dtype, tuple(shape), _bytes_of(name, dtype, tuple(shape))


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, list) or not 2 <= len(entry) <= 2 + _MOST_SIDES:
        return False
    name, dtype, *shape = entry
    sides = all(type(d) is int and 0 <= d <= _LONGEST_SIDE for d in shape)
    return isinstance(name, str) and isinstance(dtype, str) and sides


def _bytes_of(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    if dtype in _PLAIN:
        return math.prod(shape) * np.dtype(_PLAIN[dtype]).itemsize
    return rounding.size(name, shape, dtype)
