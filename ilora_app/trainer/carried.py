"""What goes from one process of a node to the next, as safetensors and JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.runs import store

_KINDS = {"config": ConfigRecord, "metrics": MetricRecord}


def write(folder: Path, records: Mapping[str, RecordDict], facts: Any) -> None:
    """Write records, of which all arrays are packed as this app packs them.

    Args:
        folder: to be made.
        records: by name.
        facts: what JSON can hold.

    Raises:
        OSError: there is no room.
        WireError: arrays of another kind.

    """
    tensors: dict[str, Tensor] = {}
    plain: list[list[Any]] = []
    for name, group in records.items():
        for key, record in group.items():
            number = len(plain)
            if isinstance(record, ArrayRecord):
                found = wire.decode_tensors(record)
                tensors |= {f"{number}:{n}": value for n, value in found.items()}
                plain.append([name, key, "arrays", list(found)])
            else:
                kind = "config" if isinstance(record, ConfigRecord) else "metrics"
                values = {n: _to_json(value) for n, value in record.items()}
                plain.append([name, key, kind, values])
    store.write(
        folder, tensors, {"names": list(records), "records": plain, "facts": facts}
    )


def read(folder: Path) -> tuple[dict[str, RecordDict], Any]:
    """Read what :func:`write` wrote: records by name, and facts.

    Raises:
        TornError: it is not whole.

    """
    tensors, found = store.read(folder)
    records = {str(name): RecordDict() for name in found["names"]}
    for number, (name, key, kind, values) in enumerate(found["records"]):
        group = records[name]
        if kind == "arrays":
            held = {n: tensors[f"{number}:{n}"] for n in values}
            dtypes = {value.dtype for value in held.values()}
            dtype = dtypes.pop() if len(dtypes) == 1 else None
            group[key] = (
                wire.encode_tensors(held, dtype) if dtype else wire.encode_tensors(held)
            )
        else:
            group[key] = _KINDS[kind]({n: _of_json(v) for n, v in values.items()})
    return records, found["facts"]


def _to_json(value: Any) -> Any:
    """JSON has no bytes."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return [_to_json(one) for one in value] if isinstance(value, list) else value


def _of_json(value: Any) -> Any:
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"])
    return [_of_json(one) for one in value] if isinstance(value, list) else value
