"""Hashes of what nodes are asked for, where all must have been asked for the same.

A server that sends one node a model and all others another, from which nothing can be
learned, has that node's numbers as the sum (Pasquini et al., CCS 2022, arXiv
2111.07380). So what nodes mask hangs on what they were asked for.
"""

from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor

from ilora_app.wire.digest import digest
from ilora_app.wire.errors import WireError
from ilora_app.wire.records import encode_tensors

_HASH = 32


def asked(facts: Mapping[str, Any], by: ArrayRecord | None = None) -> bytes:
    """SHA-256 of a question that all nodes of a pass get alike.

    Args:
        facts: of its record.
        by: arrays that come with it.

    """
    content: dict[str, Any] = {"facts": ConfigRecord(dict(facts))}
    if by is not None:
        content["by"] = by
    return bytes.fromhex(digest(RecordDict(content)))


def view(
    nested: Mapping[str, Tensor], own: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> bytes:
    """What nodes of one rank work with in a round, as two hashes.

    Args:
        nested: of which nodes of smaller rank have the first directions.
        own: of this rank alone.
        facts: that all nodes get alike.

    """
    return asked({}, _record(nested)) + asked(facts, _record(own))


def nested_part(found: bytes) -> bytes:
    """The first hash of a view.

    Raises:
        WireError: it is none.

    """
    if len(found) != 2 * _HASH:
        raise WireError("no hashes of what nodes of a rank are sent")
    return found[:_HASH]


def _record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    return encode_tensors({name: tensors[name] for name in sorted(tensors)})
