"""What the server sends a client in a round; ``node.instructions`` reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.federation.global_model import GlobalModel
from ilora_app.lora.factors import only
from ilora_app.methods.state import Plan, Share


class Shared:
    """Bytes that several messages have, held once: many nodes are sent the same."""

    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}

    def __call__(self, content: RecordDict) -> RecordDict:
        """Give a message the bytes of an earlier one, where they are equal."""
        for record in content.array_records.values():
            for array in record.values():
                array.data = self._data.setdefault(array.data, array.data)
        return content


def questions(nodes: Sequence[int], facts: Mapping[str, Any]) -> list[Message]:
    """Ask nodes who they are: what each may know beforehand is in ``facts``."""
    config = ConfigRecord(dict(facts))
    return [
        Message(RecordDict({wire.CONFIG: config}), node, MessageType.QUERY)
        for node in nodes
    ]


def write(
    share: Share,
    plan: Plan,
    model: GlobalModel,
    node: int,
    facts: Mapping[str, Any],
    parts: Mapping[str, wire.Part] | None = None,
) -> RecordDict:
    """Content of a message to one node: its share, without what it already holds.

    Args:
        share: what the node is to work with.
        plan: of the round.
        model: the global one, and what nodes hold of it.
        node: the node.
        facts: added to the config record.
        parts: the tensors of the share; None: they go as float32.

    """
    adapter = share.adapter.named_tensors()
    versions, ledger = model.versions, model.state.ledger
    counted_on = versions.unchanged(node, plan, adapter)
    groups = [group for group in plan.down if group not in counted_on]
    config: dict[str, Any] = {
        **facts,
        **{name: wire.words(getattr(plan, name)) for name in wire.PLAN},
        wire.POOLED: plan.pooled,
        wire.COUNTED_ON: wire.words(counted_on),
        wire.FACTORS_RANK: share.adapter.factors.rank,
        wire.HELD_AT: versions.since(node),
        wire.SENT_AT: versions.time,
        wire.OFFSET_BASIS: share.basis,
    }
    sent = {**only(adapter, groups), **coefficients(share)}
    if parts is None:
        parts = wire.exact(sent)
    packet = wire.pack({name: parts[name] for name in sent})
    records: dict[str, Any] = {wire.ARRAYS: packet}
    if ledger is not None:
        held = versions.base(node)
        config |= {wire.BASE_START: held, wire.BASE_END: ledger.version}
        records[wire.BASE] = wire.encode_increment(ledger.since(held))
    return RecordDict({**records, wire.CONFIG: ConfigRecord(config)})


def coefficients(share: Share) -> dict[str, Tensor]:
    """Those of an offset, under the names of the wire."""
    return {wire.OFFSET + module: C for module, C in share.coefficients.items()}
