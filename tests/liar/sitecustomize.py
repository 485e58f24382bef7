"""Loaded by Python itself where this folder is in PYTHONPATH: a node that lies.

Every round of training it trains as it should, and then answers something else.
"""

import io

import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.clientapp import ClientApp

_truth = ClientApp.__call__


def _parts(content):
    """What is sent, by name; the app is there by the time that a node answers."""
    from ilora_app import wire

    return wire, wire.unpack(content.array_records["arrays"], "arrays")


def _change(content, change):
    wire, parts = _parts(content)
    for name, part in parts.items():
        value = np.ascontiguousarray(change(name, part.numbers(name)))
        parts[name] = wire.Part.exact(value)
    content["arrays"] = wire.pack(parts)


def nan(content):
    _change(content, lambda name, value: value * np.float32("nan"))


def flat(content):
    _change(content, lambda name, value: value.reshape(-1))


def rank(content):
    def cut(name, value):
        return value[:, :3] if name.endswith("lora_B") else value

    _change(content, cut)


def huge(content):
    _change(content, lambda name, value: value * np.float32(1e4) + np.float32(1))


def examples(content):
    content["metrics"] = MetricRecord({**content["metrics"], "num-examples": 1e9})


def names(content):
    wire, parts = _parts(content)
    part = next(iter(parts.values()))
    more = {f"more.{number}": part for number in range(10_000)}
    content["arrays"] = wire.pack({**parts, **more})


def archive(content):
    """Bytes that begin as an archive, and what they say of themselves is right."""
    file = io.BytesIO()
    np.savez(file)
    data = file.getvalue()
    array = Array("uint8", (len(data),), "ilora.packet", data)
    content["arrays"] = ArrayRecord({"packet": array})


def claim(content):
    """Something else than what it says of itself."""
    record = content.array_records["arrays"]
    old = record["packet"]
    record["packet"] = Array("float32", (3,), old.stype, old.data)


LIES = (nan, flat, rank, huge, examples, names, archive, claim)


def _lie(self, message, context):
    reply = _truth(self, message, context)
    if message.metadata.message_type == "train" and reply.has_content():
        number = message.content["config"]["server-round"]
        LIES[(number - 1) % len(LIES)](reply.content)
    return reply


ClientApp.__call__ = _lie
