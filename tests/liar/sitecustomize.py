"""Loaded by Python itself where this folder is in PYTHONPATH: a node that lies.

Every round of training it trains as it should, and then answers something else.
"""

import io

import numpy as np
from flwr.app import Array, MetricRecord
from flwr.clientapp import ClientApp

_truth = ClientApp.__call__


def _change(content, change):
    record = content.array_records["arrays"]
    for name in list(record):
        record[name] = Array(np.ascontiguousarray(change(name, record[name].numpy())))


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
    record = content.array_records["arrays"]
    value = next(iter(record.values()))
    for number in range(10_000):
        record[f"more.{number}"] = value


def archive(content):
    record = content.array_records["arrays"]
    name, file = next(iter(record)), io.BytesIO()
    np.savez(file)
    old = record[name]
    record[name] = Array(old.dtype, old.shape, old.stype, file.getvalue())


LIES = (nan, flat, rank, huge, examples, names, archive)


def _lie(self, message, context):
    reply = _truth(self, message, context)
    if message.metadata.message_type == "train" and reply.has_content():
        number = message.content["config"]["server-round"]
        LIES[(number - 1) % len(LIES)](reply.content)
    return reply


ClientApp.__call__ = _lie
