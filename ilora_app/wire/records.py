"""Tensors to Flower's array records and back; words and bytes of a message."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

from ilora_app.wire import rounding
from ilora_app.wire.errors import WireError
from ilora_app.wire.packets import NAME, STYPE, Part, pack, unpack

_NONE = "none"
_LEFT, _RIGHT, _DENSE = ".left", ".right", ".dense"


def model_record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Write a model for Flower's own interface, an array each: it is no message."""
    return ArrayRecord({n: Array(_float32(t).numpy()) for n, t in tensors.items()})


def model_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Read a model that came through Flower's own interface."""
    return {name: torch.from_numpy(array.numpy()) for name, array in record.items()}


def encode_tensors(
    tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> ArrayRecord:
    """Write tensors of a message as float32, whatever dtype they are trained in.

    float32 is chosen on purpose: bfloat16 has no numpy form, and float16 would round
    what the server sums. Sums that a system of equations is made of go as float64.
    """
    return pack(exact(tensors, dtype))


def exact(
    tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32
) -> dict[str, Part]:
    """Tensors as parts of a packet, as :func:`encode_tensors` writes them."""
    return {
        name: Part.exact(t.detach().to("cpu", dtype).numpy())
        for name, t in tensors.items()
    }


def decode_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Read tensors that this app wrote itself (the server, or into its own state).

    Raises:
        WireError: it did not.

    """
    return read(unpack(record, "a message"))


def bytes_of(record: ArrayRecord) -> Tensor:
    """A record as it travels, uint8 of its length: to be kept, and read by nobody."""
    data = record[NAME].data if record else b""
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def from_bytes(data: Tensor) -> ArrayRecord:
    """The record that :func:`bytes_of` was given, to the last bit."""
    if not len(data):
        return ArrayRecord()
    kept = data.numpy().tobytes()
    return ArrayRecord({NAME: Array("uint8", (len(kept),), STYPE, kept)})


def read(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """Parts of a packet that this app wrote itself, as tensors."""
    return {name: torch.from_numpy(part.numbers(name)) for name, part in parts.items()}


def _float32(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()


@dataclass(frozen=True)
class Encoding:
    """How the numbers of a training message or of its reply travel.

    Attributes:
        dtype: ``wire-dtype``.
        seed: of the chances of rounding: that of the run, or of a node in a round.

    """

    dtype: str = rounding.FLOAT32
    seed: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether float32 numbers arrive as they are."""
        return self.dtype == rounding.FLOAT32

    def encode(self, tensors: Mapping[str, Tensor], *place: object) -> ArrayRecord:
        """Write tensors; the same ones at the same place always in the same bytes.

        Args:
            tensors: by name.
            place: what else the chances depend on, beside the seed and the name.

        Raises:
            WireError: a number that is none, or infinite, and cannot be rounded.

        """
        return pack(self.parts(tensors, *place))

    def parts(self, tensors: Mapping[str, Tensor], *place: object) -> dict[str, Part]:
        """What :meth:`encode` writes, before it is put together."""
        if self.is_exact:
            return exact(tensors)
        return {name: self._part(name, t, place) for name, t in tensors.items()}

    def _part(self, name: str, tensor: Tensor, place: tuple[object, ...]) -> Part:
        values = _float32(tensor).numpy()
        if not np.isfinite(values).all():
            raise WireError(f"{name} holds NaN or infinity")
        text = "/".join(map(str, (self.seed, *place, name)))
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        draw = np.random.Generator(np.random.PCG64(seed))
        data = rounding.pack(name, values, self.dtype, draw)
        return Part(self.dtype, values.shape, data)


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
