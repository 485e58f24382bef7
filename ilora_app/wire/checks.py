"""Checks on records of another party: no value is used before it passed here."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import MetricRecord, RecordDict
from torch import Tensor

from ilora_app.wire import packets, rounding
from ilora_app.wire.errors import WireError

_MOST_ENTRIES = 1000  # of a record of a reply


def decode_checked(
    record: object,
    expected: Mapping[str, Tensor],
    what: str,
    dtype: str = rounding.FLOAT32,
) -> dict[str, Tensor]:
    """Read arrays from another party, held against what they must look like.

    Args:
        record: the record received.
        expected: name -> a tensor of the shape that must come; as float64 where it
            is of that, else as float32.
        what: the record's name, for the message.
        dtype: ``wire-dtype`` where they come rounded; what is read is float32.

    Raises:
        WireError: no packet of arrays, missing or unknown names, another shape or
            type, NaN or infinity; with the name and what was expected.

    """
    parts = packets.unpack(record, what)
    missing = [name for name in expected if name not in parts]
    unknown = [name for name in parts if name not in expected]
    if missing or unknown:
        raise WireError(
            f"{what}: {_names(missing, 'missing')}{_names(unknown, 'unknown')}"
        )
    tensors = {}
    for name, like in expected.items():
        part, shape, kind = parts[name], tuple(like.shape), dtype
        if dtype == rounding.FLOAT32 and like.dtype == torch.float64:
            kind = "float64"
        if part.dtype != kind or part.shape != shape:
            found = f"{part.dtype} {part.shape}"
            raise WireError(f"{what}: {name} is {found}, expected {kind} {shape}")
        try:
            values = part.numbers(name)
        except ValueError as error:
            raise WireError(f"{what}: {name} {error}") from error
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
