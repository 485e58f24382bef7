"""Tensors and facts <-> Flower records: the only file that knows the key names.

A message or reply holds one record of each kind: ``arrays`` (what is trained),
``correction`` (what the drift correction adds), ``config`` or ``metrics``.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from torch import Tensor

ARRAYS, CORRECTION, CONFIG, METRICS = "arrays", "correction", "config", "metrics"
BASE, SLOTS, EXTRA = "base", "slots", "extra"
DEADLINE, BATCH_SIZE, PROGRESS = "deadline", "batch-size", "progress"
SPEED, SPREAD = "seconds-per-example", "spread-of-seconds"
OFFSET, OFFSET_BASIS = "offset.", "offset-basis"
ROUND, EXAMPLES, HELD_OUT = "server-round", "num-examples", "num-held-out"
LAST_TAKEN, CORRECTION_LOST = "correction-taken-in-round", "correction-lost"
HEAD_SUMS, GRAM, CROSS = "head-sums", "gram", "cross"
# Fields of a plan that a client needs.
PLAN, POOLED = ("trains", "up", "own", "kept"), "pooled"
COUNTED_ON, HELD_AT, SENT_AT = "counted-on", "held-at-version", "sent-version"
FACTORS_RANK = "rank-of-factors"
BASE_START, BASE_END = "base-version-held", "base-version-sent"
EVALUATE, EVALUATION = "evaluate-before-training", "evaluation"
LOSS, ACCURACY, SECONDS = "loss", "accuracy", "seconds"
TEST_SPLIT, TEST_LOSS, TEST_ACCURACY = "test-split", "test-loss", "test-accuracy"
RANK, PARTITION, PARTITIONS, PROBLEM = (
    "lora-rank",
    "partition-id",
    "num-partitions",
    "problem",
)
DATA_PATH, CLASSES = "data-path", "classes"
# The run under whose name a node keeps its own state, the node's name for itself, and
# the round whose state it has taken up again.
RUN_KEY, IDENTITY, STATE_ROUND = "run-key", "identity", "state-of-round"
# Bytes of an array's own description of itself, and entries of a record of a reply.
_HEADER, _MOST_ENTRIES = 4096, 1000
_NONE = "none"
_LEFT, _RIGHT, _DENSE = ".left", ".right", ".dense"


class WireError(ValueError):
    """A record that does not hold what it must; its text is told to who has sent it."""


def encode_tensors(
    tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> ArrayRecord:
    """Write tensors as float32 arrays, whatever dtype they are trained in.

    float32 is chosen on purpose: bfloat16 has no numpy form, and float16 would round
    what the server sums. Sums that a system of equations is made of go as float64.
    """
    return ArrayRecord(
        {
            name: Array(t.detach().to("cpu", dtype).contiguous().numpy())
            for name, t in tensors.items()
        }
    )


def decode_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Read arrays that this app wrote itself (by the server, or into its own state)."""
    return {name: torch.from_numpy(array.numpy()) for name, array in record.items()}


@dataclass(frozen=True)
class BaseUpdate:
    """What a client lacks of the base: from version ``start`` to version ``end``."""

    start: int
    end: int
    increment: Mapping[str, Tensor | tuple[Tensor, Tensor]]


def encode_increment(
    increment: Mapping[str, Tensor | tuple[Tensor, Tensor]],
) -> ArrayRecord:
    """Write a base increment: factors (L, R) or dense, by module."""
    flat = {}
    for module, value in increment.items():
        if isinstance(value, Tensor):
            flat[module + _DENSE] = value
        elif value[0].shape[1]:
            flat[module + _LEFT], flat[module + _RIGHT] = value
    return encode_tensors(flat)


def decode_increment(
    record: ArrayRecord,
) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
    """Read a base increment written by :func:`encode_increment`."""
    flat = decode_tensors(record)
    found: dict[str, Tensor | tuple[Tensor, Tensor]] = {}
    for name, value in flat.items():
        if name.endswith(_DENSE):
            found[name.removesuffix(_DENSE)] = value
        elif name.endswith(_LEFT):
            module = name.removesuffix(_LEFT)
            found[module] = (value, flat[module + _RIGHT])
    return found


def decode_checked(
    record: object, expected: Mapping[str, Tensor], what: str
) -> dict[str, Tensor]:
    """Read arrays from another party, held against what they must look like.

    Args:
        record: the record received.
        expected: name -> a tensor of the shape that must come; as float64 where it
            is of that, else as float32.
        what: the record's name, for the message.

    Raises:
        WireError: missing or unknown names, another shape or type, unreadable bytes,
            NaN or infinity; with the name and what was expected.

    """
    if not isinstance(record, ArrayRecord):
        raise WireError(f"{what}: no array record in the reply")
    missing = [name for name in expected if name not in record]
    unknown = [name for name in record if name not in expected]
    if missing or unknown:
        raise WireError(
            f"{what}: {_names(missing, 'missing')}{_names(unknown, 'unknown')}"
        )
    tensors = {}
    for name, like in expected.items():
        shape, array = tuple(like.shape), record[name]
        kind = np.dtype(np.float64 if like.dtype == torch.float64 else np.float32)
        if array.dtype != kind.name or tuple(array.shape) != shape:
            raise WireError(
                f"{what}: {name} is {array.dtype} {tuple(array.shape)}, "
                f"expected {kind.name} {shape}"
            )
        size = kind.itemsize * like.numel()
        if len(array.data) > size + _HEADER:
            raise WireError(
                f"{what}: {name} comes in {len(array.data)} bytes, expected about "
                f"{size}"
            )
        try:
            values: object = array.numpy()
        except Exception as error:  # bytes of a stranger: numpy raises many kinds
            raise WireError(f"{what}: {name} cannot be read: {error}") from error
        # What begins as an archive is read as one, and no array.
        if (
            not isinstance(values, np.ndarray)
            or values.dtype != kind
            or values.shape != shape
        ):
            raise WireError(f"{what}: {name} does not hold what its header says")
        if not np.isfinite(values).all():
            raise WireError(f"{what}: {name} holds NaN or infinity")
        tensors[name] = torch.from_numpy(values)
    return tensors


def number(
    record: object, name: str, *, least: float = -1e30, most: float = 1e30
) -> float:
    """Read one number between ``least`` and ``most`` from a metric record.

    Raises:
        WireError: it is absent, not a number, not finite, too small or too large.

    """
    value = record.get(name) if isinstance(record, MetricRecord) else None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise WireError(f"metrics: {name} is {value!r}, expected a finite number")
    if not least <= value <= most:
        right = f"{least:g} or more" if value < least else f"at most {most:g}"
        raise WireError(f"metrics: {name} is {value!r}, expected {right}")
    return float(value)


def bounded(content: RecordDict) -> RecordDict:
    """Refuse records of more entries than any reply has.

    Raises:
        WireError: there are more.

    """
    kinds = content.metric_records, content.config_records
    for name, record in (item for kind in kinds for item in kind.items()):
        if len(record) > _MOST_ENTRIES:
            raise WireError(
                f"{readable(name, 100)} has {len(record)} entries, expected at most "
                f"{_MOST_ENTRIES}"
            )
    return content


def flag(record: object, name: str) -> bool:
    """Read 0 or 1 from a metric record; absent is 0.

    Raises:
        WireError: it is something else.

    """
    if not isinstance(record, MetricRecord) or name not in record:
        return False
    return number(record, name, least=0, most=1) == 1


def words(values: Sequence[str]) -> str:
    """Write words as one value; Flower cannot count the bytes of an empty one."""
    return " ".join(values) or _NONE


def from_words(value: object) -> tuple[str, ...]:
    """Read what :func:`words` wrote."""
    return () if value == _NONE else tuple(str(value).split())


def content_bytes(content: RecordDict) -> int:
    """Bytes of a message's content, as Flower counts them.

    Flower fails on some that it transports (empty texts and lists). They count as
    nothing: what we read ourselves holds none.
    """
    found = 0
    for record in content.values():
        with contextlib.suppress(Exception):
            found += record.count_bytes()
    return found


def readable(text: str, most: int = 500) -> str:
    """Make a text of another party fit for a log: one line, bounded, and printable."""
    cut = text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
    line = "; ".join(part.strip() for part in cut.split("\n") if part.strip())
    return "".join(c if c.isprintable() else "?" for c in line)


def _names(found: list[str], kind: str) -> str:
    if not found:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    first = ", ".join(readable(name, 100) for name in found[:3])
    return f"{len(found)} {kind} ({first}{more}) "
