r"""SHA-256 of a message's content, the same on every side that it comes by.

Transports write a message anew, in an order and with fields of their own. So what is
hashed is what it says: of each record, by name, its entries by name; of an array its
dtype, its shape, how it is written, and the SHA-256 of its bytes; of any other value
its type and itself. Every piece comes behind its length.
"""

import hashlib
import struct
from typing import Any

from flwr.app import ArrayRecord, RecordDict

Known = dict[int, bytes]


def digest(content: RecordDict, known: Known | None = None) -> str:
    """SHA-256 of a content, in hexadecimal digits.

    Args:
        content: as it is sent, or as it came.
        known: hashes of arrays' bytes by ``id``, for arrays that many messages share;
            to be dropped before one of them is.

    """
    whole = hashlib.sha256()
    known = {} if known is None else known
    for name in sorted(content):
        record = content[name]
        _add(whole, type(record).__name__.encode(), name.encode())
        for key in sorted(record):
            _add(whole, key.encode())
            if isinstance(record, ArrayRecord):
                array = record[key]
                shape = ",".join(map(str, array.shape))
                what = f"{array.dtype} {shape} {array.stype}"
                _add(whole, what.encode(), _bytes(array.data, known))
            else:
                _add(whole, _value(record[key]))
        _add(whole, b"end")
    return whole.hexdigest()


def _bytes(data: Any, known: Known) -> bytes:
    found = known.get(id(data))
    if found is None:
        found = known[id(data)] = hashlib.sha256(data).digest()
    return found


def _value(value: object) -> bytes:
    if isinstance(value, list):
        return b"l" + b"".join(_long(_value(one)) for one in value)
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return f"i{value}".encode()
    if isinstance(value, float):
        return b"d" + struct.pack(">d", value)
    return b"s" + value.encode() if isinstance(value, str) else b"b" + bytes(value)  # type: ignore[call-overload]


def _add(whole: Any, *parts: bytes) -> None:
    for part in parts:
        whole.update(_long(part))


def _long(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part
