"""Checks on what comes back from clients. No value is used before it passed here."""

from collections.abc import Mapping

from flwr.app import Message
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState
from ilora_app.strategies.federation import Member
from ilora_app.strategies.state import ModelState, Update


def read_update(
    reply: Message,
    member: Member,
    received: ModelState,
    correction: Mapping[str, Tensor],
) -> Update:
    """Read a training reply.

    Args:
        reply: from the node, without an error.
        member: the node.
        received: what the node was sent; its reply must have these shapes.
        correction: what the drift correction sent; the upload has these shapes.

    Raises:
        WireError: the reply is not what was asked for, with what is wrong.

    """
    content = reply.content
    trained = wire.decode_checked(
        content.get(wire.ARRAYS), received.adapter.named_tensors(), wire.ARRAYS
    )
    uploaded: dict[str, Tensor] = {}
    if correction:
        uploaded = wire.decode_checked(
            content.get(wire.CORRECTION), correction, wire.CORRECTION
        )
    metrics = content.get(wire.METRICS)
    return Update(
        member=member,
        received=received,
        adapter=AdapterState.from_named_tensors(trained),
        examples=wire.number(metrics, wire.EXAMPLES, least=1),
        loss=wire.number(metrics, wire.LOSS),
        seconds=wire.number(metrics, wire.SECONDS, least=0),
        correction=uploaded,
    )


def read_evaluation(reply: Message) -> dict[str, float]:
    """Read an evaluation reply: examples, loss and accuracy.

    Raises:
        WireError: one of them is absent or no finite number.

    """
    metrics = reply.content.get(wire.METRICS)
    return {
        wire.EXAMPLES: wire.number(metrics, wire.EXAMPLES, least=1),
        wire.LOSS: wire.number(metrics, wire.LOSS),
        wire.ACCURACY: wire.number(metrics, wire.ACCURACY, least=0),
    }
