"""Changes of good replies, as ``lies`` says what they are."""

from collections.abc import Callable

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)

from tests.fuzz.lies import Lie
from tests.packets import Arrays, bytes_of, closed, opened, raw


def tell(told: list[Lie], reply: Message) -> list[Message]:
    """Change a reply by one after the other."""
    replies = [reply]
    for lie in told:
        replies = [made for one in replies for made in _DONE[lie.what](lie, one)]
    return replies


def _content(reply: Message) -> RecordDict:
    return reply.content if reply.has_content() else RecordDict()


def _arrays(lie: Lie, reply: Message) -> tuple[Arrays, str] | None:
    """Arrays of a record, and the name of one of them."""
    record = _content(reply).get(lie.record)
    try:
        found = opened(record)
    except Exception:  # a lie of before has made it no packet
        return None
    return (found, list(found)[lie.number % len(found)]) if found else None


def _values(lie: Lie, reply: Message) -> list[Message]:
    found = _arrays(lie, reply)
    if not found:
        return [reply]
    arrays, name = found
    old = arrays[name]
    with np.errstate(all="ignore"):
        if lie.value == "bits":
            draw = np.random.default_rng(lie.number)
            new = draw.integers(0, 256, old.nbytes, np.uint8).view(old.dtype)
            new = new.reshape(old.shape)
        elif lie.value.startswith("x"):
            new = old * float(lie.value[1:])
        else:
            new = np.full_like(old, float(lie.value))
    reply.content[lie.record] = closed({**arrays, name: new.astype(old.dtype)})
    return [reply]


def _form(lie: Lie, reply: Message) -> list[Message]:
    found = _arrays(lie, reply)
    if not found:
        return [reply]
    arrays, name = found
    old = arrays[name]
    if lie.value == "rename":
        arrays[name + "\n\x1b[2J"] = arrays.pop(name)
    elif lie.value == "drop":
        del arrays[name]
    elif lie.value in ("add", "twice"):
        arrays[f"more {lie.number}" if lie.value == "add" else name.upper()] = old
    else:
        with np.errstate(all="ignore"):
            arrays[name] = {
                "empty": lambda: old[:0],
                "long": lambda: np.concatenate([old, old]),
                "flat": old.ravel,
                "rank": lambda: old[:1],
                "wide": lambda: old[None],
                "float64": lambda: old.astype(np.float64),
                "float16": lambda: old.astype(np.float16),
                "int8": lambda: np.zeros(old.shape, np.int8),
                "object": lambda: np.zeros(old.shape, "U3"),
            }[lie.value]()
    reply.content[lie.record] = closed(arrays)
    return [reply]


def _raw(lie: Lie, reply: Message) -> list[Message]:
    """Bytes of a packet that no client writes."""
    content = _content(reply)
    record = content.get(lie.record)
    if not isinstance(record, ArrayRecord) or "packet" not in record:
        return [reply]
    data = bytes_of(record)
    end = 8 + int.from_bytes(data[:8], "little")
    header, numbers = data[8:end], data[end:]
    content[lie.record] = raw(
        {
            "nothing": lambda: b"",
            "torn": lambda: data[: len(data) // 2],
            "archive": lambda: b"PK\x03\x04" + data,
            "long header": lambda: b"\xff" * 8 + data,
            "deep": lambda: _headed(b"[" * 200_000, numbers),
            "huge shape": lambda: _headed(header.replace(b",2", b",%d" % 2**40), b""),
            "text": lambda: _headed(b"no array \xff", numbers),
        }[lie.value]()
    )
    return [reply]


def _headed(header: bytes, numbers: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + numbers


def _array(lie: Lie, reply: Message) -> list[Message]:
    """The one array of a record, and what it says of itself."""
    record = _content(reply).get(lie.record)
    if not isinstance(record, ArrayRecord) or not record:
        return [reply]
    name = next(iter(record))
    old = record[name]
    if lie.value in ("rename", "twice"):
        record["a\nb"] = old
        if lie.value == "rename":
            del record[name]
    elif lie.value == "numpy":
        record[name] = Array(np.zeros(lie.number, np.float32))
    else:
        claims = old.dtype, tuple(old.shape), old.stype, bytes(old.data)
        told = {
            "dtype": ("float32", *claims[1:]),
            "shape": (claims[0], (*claims[1], 1), *claims[2:]),
            "stype": (*claims[:2], "numpy.ndarray", claims[3]),
        }[lie.value]
        record[name] = Array(*told)
    return [reply]


def _metric(lie: Lie, reply: Message) -> list[Message]:
    return _put(lie, reply, MetricRecord)


def _fact(lie: Lie, reply: Message) -> list[Message]:
    return _put(lie, reply, ConfigRecord)


def _put(lie: Lie, reply: Message, kind: type) -> list[Message]:
    """Set a value, in the record of this name or in the first of its kind."""
    content = _content(reply)
    there = [r for r in content.values() if isinstance(r, kind)]
    record = content.get(lie.record)
    if not isinstance(record, kind):
        record = there[0] if there else None
    if record is None:
        content[lie.record] = record = kind()
    keys = list(record)
    key = keys[lie.number % len(keys)] if keys and lie.number < 4 else lie.key
    record[key] = lie.value
    return [reply]


def _without(lie: Lie, reply: Message) -> list[Message]:
    _content(reply).pop(lie.record, None)
    return [reply]


def _exchange(lie: Lie, reply: Message) -> list[Message]:
    content = _content(reply)
    a, b = content.pop(lie.record, None), content.pop(lie.value, None)
    for name, record in ((lie.value, a), (lie.record, b)):
        if record is not None:
            content[name] = record
    return [reply]


def _without_key(lie: Lie, reply: Message) -> list[Message]:
    record = _content(reply).get(lie.record)
    if record:
        del record[list(record)[lie.number % len(record)]]
    return [reply]


def _error(lie: Lie, reply: Message) -> list[Message]:
    made = Message(Error(code=0, reason=lie.value), reply_to=reply)
    made.metadata.__dict__["_src_node_id"] = reply.metadata.src_node_id
    return [made]


def _from(lie: Lie, reply: Message) -> list[Message]:
    """A second reply, in the name of another node that is not there or not asked."""
    if lie.value in (1, 3):  # the SuperLink knows who has sent what
        return [reply]
    other = Message(_content(reply), reply_to=reply)
    other.metadata.__dict__["_src_node_id"] = lie.value
    return [reply, other]


def _empty(lie: Lie, reply: Message) -> list[Message]:
    made = Message(RecordDict(), reply_to=reply)
    made.metadata.__dict__["_src_node_id"] = reply.metadata.src_node_id
    return [made]


def _no_content(lie: Lie, reply: Message) -> list[Message]:
    reply.__dict__["_content"] = None
    return [reply]


_DONE: dict[str, Callable[[Lie, Message], list[Message]]] = {
    "values": _values, "form": _form, "raw": _raw, "array": _array,
    "metric": _metric, "fact": _fact,
    "without": _without, "exchange": _exchange, "without key": _without_key,
    "error": _error, "from": _from, "empty": _empty, "no content": _no_content,
    "twice": lambda lie, reply: [reply, reply], "nothing": lambda lie, reply: [],
}  # fmt: skip
