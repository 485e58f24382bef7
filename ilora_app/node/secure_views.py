"""Whether a node was sent what others are told that it was sent.

What all of a pass were told is part of what their masks hang on. So a node of another
view is found here, and where the others were told something else no mask cancels.
"""

from typing import Any

from flwr.app import Message

from ilora_app import wire
from ilora_app.lora.factors import group_of
from ilora_app.node.client_state import at_rank
from ilora_app.node.instructions import Instructions

_KNOWN = {wire.ARRAYS, wire.CONFIG, wire.CORRECTION, wire.SECURE}
"""All of these are in a view; a base, say, would be a model of its own."""


def asked(message: Message) -> bytes:
    """Hash of what a message asks of all nodes alike."""
    facts: Any = message.content.config_records[wire.SECURE]
    same = {name: value for name, value in facts.items() if name != wire.LETTERS}
    return wire.asked(same, message.content.array_records.get(wire.FACTORS))


def check(message: Message, instructions: Instructions, nested: bool) -> None:
    """See that this node was sent what nodes of its rank were.

    Args:
        message: of the server.
        instructions: the same, made whole.
        nested: nodes of smaller rank were sent the first directions of it.

    Raises:
        WireError: it was not.

    """
    content = message.content
    if more := set(content) - _KNOWN:
        raise wire.WireError(f"{', '.join(sorted(more))}: sums take no such record")
    facts: Any = content.config_records[wire.SECURE]
    views = wire.from_by_node(facts.get(wire.VIEWS))
    own, rank = instructions.plan.own, instructions.rank
    tensors = {n: v for n, v in instructions.tensors.items() if group_of(n) not in own}
    record = content.array_records.get(wire.CORRECTION)
    if record is not None:
        control = wire.decode_tensors(record)
        tensors |= {wire.CORRECTED + name: value for name, value in control.items()}
    config: Any = content.config_records[wire.CONFIG]
    common = {n: v for n, v in config.items() if n not in wire.PER_NODE}
    offset = {wire.OFFSET + m: C for m, C in instructions.coefficients.items()}
    if views.get(rank) != wire.view(tensors, offset, common):
        raise wire.WireError("it was sent something else than others are told")
    for smaller in (r for r in views if nested and r < rank):
        cut = wire.view(at_rank(tensors, smaller), {}, {})
        if wire.nested_part(cut) != wire.nested_part(views[smaller]):
            raise wire.WireError(
                f"nodes of rank {smaller} were sent another model than this one"
            )
