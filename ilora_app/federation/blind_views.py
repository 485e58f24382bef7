"""What nodes are told of what the others are sent: ``node.secure_views`` checks it."""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Message

from ilora_app import wire
from ilora_app.federation import messages
from ilora_app.federation.replies import Request
from ilora_app.lora.factors import group_of


def views(sent: Iterable[Message], requests: Mapping[int, Request]) -> dict[str, Any]:
    """A view by rank, as facts of secure aggregation.

    Args:
        sent: messages of a pass.
        requests: of the nodes that get them.

    """
    found: dict[int, bytes] = {}
    for message in sent:
        request = requests[message.metadata.dst_node_id]
        if (rank := request.member.rank) in found:
            continue
        content, share = message.content, request.share
        nested = {
            name: value
            for name, value in share.adapter.named_tensors().items()
            if group_of(name) not in request.plan.own
        }
        record = content.array_records.get(wire.CORRECTION)
        if record is not None:
            control = wire.decode_tensors(record)
            nested |= {wire.CORRECTED + name: value for name, value in control.items()}
        config: Any = content.config_records[wire.CONFIG]
        facts = {n: v for n, v in config.items() if n not in wire.PER_NODE}
        found[rank] = wire.view(nested, messages.coefficients(share), facts)
    return {wire.VIEWS: wire.by_node(dict(sorted(found.items())))}
