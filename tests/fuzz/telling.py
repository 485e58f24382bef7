"""Changes of good replies, as ``lies`` says what they are."""

import io
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


def tell(told: list[Lie], reply: Message) -> list[Message]:
    """Change a reply by one after the other."""
    replies = [reply]
    for lie in told:
        replies = [made for one in replies for made in _DONE[lie.what](lie, one)]
    return replies


def _content(reply: Message) -> RecordDict:
    return reply.content if reply.has_content() else RecordDict()


def _tensors(lie: Lie, reply: Message) -> tuple[ArrayRecord, str] | None:
    record = _content(reply).get(lie.record)
    if not isinstance(record, ArrayRecord) or not record:
        return None
    return record, list(record)[lie.number % len(record)]


def _values(lie: Lie, reply: Message) -> list[Message]:
    found = _tensors(lie, reply)
    if found:
        record, name = found
        old = _read(record[name])
        if old is None or old.dtype.kind != "f":
            return [reply]
        with np.errstate(all="ignore"):
            if lie.value == "bits":
                draw = np.random.default_rng(lie.number)
                new = draw.integers(0, 256, old.nbytes, np.uint8).view(old.dtype)
                new = new.reshape(old.shape)
            elif lie.value.startswith("x"):
                new = old * float(lie.value[1:])
            else:
                new = np.full_like(old, float(lie.value))
        record[name] = Array(new.astype(old.dtype))
    return [reply]


def _form(lie: Lie, reply: Message) -> list[Message]:
    found = _tensors(lie, reply)
    if not found:
        return [reply]
    record, name = found
    old = _read(record[name])
    if old is None:
        return [reply]
    if lie.value == "rename":
        record[name + "\n\x1b[2J"] = record.pop(name)
    elif lie.value == "drop":
        del record[name]
    elif lie.value in ("add", "twice"):
        record[f"more {lie.number}" if lie.value == "add" else name.upper()] = record[
            name
        ]
    else:
        with np.errstate(all="ignore"):
            made = {
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
        record[name] = Array(np.ascontiguousarray(made))
    return [reply]


def _raw(lie: Lie, reply: Message) -> list[Message]:
    found = _tensors(lie, reply)
    if found:
        record, name = found
        old = record[name]
        dtype, shape, data = old.dtype, tuple(old.shape), old.data
        if lie.value == "nothing":
            data = b""
        elif lie.value == "torn":
            data = data[: len(data) // 2]
        elif lie.value == "archive":
            data = b"PK\x03\x04" + data
        elif lie.value == "object array":
            data = data.replace(b"<f4", b"|O ").replace(b"<f8", b"|O ")
        elif lie.value == "other shape":
            shape = (*shape, 1)
        elif lie.value == "huge shape":
            head = {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
            file = io.BytesIO()
            np.lib.format.write_array_header_1_0(file, head)
            data = file.getvalue()
        else:
            data = b"no array \xff"
        record[name] = Array(dtype, shape, old.stype, data)
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


def _read(array: Array) -> np.ndarray | None:
    try:
        found = array.numpy()
    except Exception:  # a lie of before has made it no array
        return None
    return found if isinstance(found, np.ndarray) else None


_DONE: dict[str, Callable[[Lie, Message], list[Message]]] = {
    "values": _values, "form": _form, "raw": _raw, "metric": _metric, "fact": _fact,
    "without": _without, "exchange": _exchange, "without key": _without_key,
    "error": _error, "from": _from, "empty": _empty, "no content": _no_content,
    "twice": lambda lie, reply: [reply, reply], "nothing": lambda lie, reply: [],
}  # fmt: skip
