"""Tensors as one vector that is summed, masked vectors, and bytes by node.

Names are in alphabetical order, so that whoever has the same tensors has the same
vector. Node ids have 64 bits and no sign, more than a number of a Flower record has.
"""

from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from torch import Tensor

from ilora_app.wire.errors import WireError

_STYPE, _MASKED = "ilora.masked", "masked"
_NODE = 8


def flatten(tensors: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Write tensors as one vector."""
    parts = [
        tensors[name].detach().cpu().double().flatten() for name in sorted(tensors)
    ]
    return torch.cat(parts).numpy()


def unflatten(
    vector: NDArray[np.float64], like: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Read a vector back, in float64.

    Args:
        vector: from :func:`flatten`, or a sum of such.
        like: shapes by name.

    Raises:
        WireError: it has another length.

    """
    found, start, whole = {}, 0, torch.from_numpy(vector)
    for name in sorted(like):
        size = int(np.prod(like[name]))
        found[name] = whole[start : start + size].reshape(like[name])
        start += size
    if start != len(vector):
        raise WireError(f"a sum of {len(vector)} numbers, expected {start}")
    return found


def masked(vector: NDArray[np.uint64]) -> ArrayRecord:
    """Write a masked vector."""
    data = vector.astype("<u8").tobytes()
    array = Array("uint64", (len(vector),), _STYPE, data)
    return ArrayRecord({_MASKED: array})


def read_masked(record: object, length: int) -> NDArray[np.uint64]:
    """Read a masked vector of another party.

    Raises:
        WireError: there is none, or it has another length.

    """
    if not isinstance(record, ArrayRecord) or list(record) != [_MASKED]:
        raise WireError("no masked vector in the reply")
    array = record[_MASKED]
    if array.stype != _STYPE or len(array.data) != 8 * length:
        raise WireError(
            f"a masked vector of {len(array.data)} bytes, expected {8 * length}"
        )
    return np.frombuffer(array.data, dtype="<u8").astype(np.uint64)


def by_node(values: Mapping[int, bytes]) -> list[bytes]:
    """Write bytes by node."""
    return [node.to_bytes(_NODE, "big") + value for node, value in values.items()]


def from_by_node(values: object) -> dict[int, bytes]:
    """Read bytes by node of another party; no list is an empty one.

    Raises:
        WireError: it is something else, or has a node twice.

    """
    if values is None:
        return {}
    if not isinstance(values, list) or not all(
        isinstance(v, bytes) and len(v) >= _NODE for v in values
    ):
        raise WireError("no bytes by node")
    found = {int.from_bytes(v[:_NODE], "big"): v[_NODE:] for v in values}
    if len(found) != len(values):
        raise WireError("a node twice")
    return found
