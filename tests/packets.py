"""Records of messages opened, changed, and closed again."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict

from ilora_app import wire

Arrays = dict[str, np.ndarray]


def opened(record: Any) -> Arrays:
    """Arrays of a record by name; of numbers that travel rounded, the numbers."""
    return {n: part.numbers(n) for n, part in wire.unpack(record, "record").items()}


def closed(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Write arrays of any dtype, also of those that nobody would send."""
    return wire.pack(
        {
            name: wire.Part(value.dtype.name, value.shape, value.tobytes())
            for name, value in arrays.items()
        }
    )


def change(content: RecordDict, name: str, make: Callable[[Arrays], Arrays]) -> None:
    """Put other arrays in the place of those of a record."""
    content[name] = closed(make(opened(content.array_records[name])))


def raw(data: bytes, **claims: Any) -> ArrayRecord:
    """Write bytes as a packet, whatever they are."""
    told = {"dtype": "uint8", "shape": (len(data),), "stype": "ilora.packet", **claims}
    return ArrayRecord({"packet": Array(**told, data=data)})


def bytes_of(record: Any) -> bytes:
    """Bytes of a packet."""
    return bytes(record["packet"].data)
