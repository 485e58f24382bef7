"""float32 numbers as bfloat16 or int8, rounded up or down by chance, and back.

A number between two that the type has becomes the upper one with a chance of how far it
is above the lower one, so that its mean is the number itself, and what is summed over
clients or rounds is not drawn to one side. In int8 a row of numbers x has one scale,
max |x| / 127, and x is written as a whole number of scales. A row is a direction of the
factors, a column of B or a row of A: of the first r_k directions of a larger rank come
the numbers of rank r_k. Bytes are little-endian: the scales of int8 first, then row by
row of directions.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ilora_app.lora.factors import group_of

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
DTYPES = (FLOAT32, BFLOAT16, INT8)
_LARGEST = 127

Numbers = NDArray[np.float32]


def pack(name: str, values: Numbers, dtype: str, draw: np.random.Generator) -> bytes:
    """Write finite numbers as bytes.

    Args:
        name: of the tensor, which says what its rows are.
        values: of any shape.
        dtype: ``bfloat16`` or ``int8``.
        draw: of the chances.

    """
    rows = np.ascontiguousarray(_rows(name, values))
    if dtype == BFLOAT16:
        return _to_bfloat16(rows, draw)
    scales = (np.abs(rows).max(axis=1, initial=0.0) / np.float32(_LARGEST))[:, None]
    found = rows / np.where(scales > 0, scales, 1)
    found = np.floor(found + draw.random(rows.shape, dtype=np.float32))
    whole = found.clip(-_LARGEST, _LARGEST).astype(np.int8)
    return bytes(scales.astype("<f4").tobytes() + whole.tobytes())


def size(name: str, shape: tuple[int, ...], dtype: str) -> int:
    """How many bytes :func:`pack` writes of numbers of a shape."""
    count = math.prod(shape)
    if dtype == BFLOAT16:
        return 2 * count
    side = 1 if len(shape) == 2 and group_of(name) == "lora_B" else 0
    return count + 4 * (shape[side] if len(shape) > 1 else 1)


def unpack(
    name: str, data: bytes | memoryview, shape: tuple[int, ...], dtype: str
) -> Numbers:
    """Read what :func:`pack` wrote, and refuse what it would never write.

    Raises:
        ValueError: another number of bytes, or a scale that is negative or whose
            largest number is none.

    """
    like = _rows(name, np.broadcast_to(np.float32(0), shape))
    count, scales = math.prod(shape), len(like)
    if len(data) != size(name, shape, dtype):
        right = size(name, shape, dtype)
        raise ValueError(f"comes in {len(data)} bytes, expected {right}")
    if dtype == BFLOAT16:
        bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
        return _shaped(name, bits.view(np.float32).reshape(like.shape), shape)
    scale = np.frombuffer(data, "<f4", scales).astype(np.float32)[:, None]
    whole = np.frombuffer(data, np.int8, count, 4 * scales).reshape(like.shape)
    with np.errstate(all="ignore"):
        wrong = ~((scale >= 0) & np.isfinite(scale * np.float32(_LARGEST)))
    if wrong.any():
        raise ValueError(f"has a scale of {scale[wrong][0]:g}")
    if (whole < -_LARGEST).any():
        raise ValueError(f"has a number below -{_LARGEST} scales")
    return _shaped(name, whole.astype(np.float32) * scale, shape)


def _to_bfloat16(rows: Numbers, draw: np.random.Generator) -> bytes:
    chance = draw.integers(0, 1 << 16, rows.shape, dtype=np.uint16)
    return ((rows.view(np.uint32) + chance) >> 16).astype("<u2").tobytes()


def _rows(name: str, values: Numbers) -> Numbers:
    if values.ndim < 2:
        return values.reshape(1, -1)
    if values.ndim == 2 and group_of(name) == "lora_B":
        return values.T
    return values.reshape(values.shape[0], -1)


def _shaped(name: str, rows: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Undo :func:`_rows`."""
    turned = len(shape) == 2 and group_of(name) == "lora_B"
    return (np.ascontiguousarray(rows.T) if turned else rows).reshape(shape)
