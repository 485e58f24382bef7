"""Answers of a node to a message, and of several nodes of one process at once."""

from collections.abc import Callable, Sequence
from functools import wraps
from logging import ERROR
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from ilora_app import wire
from ilora_app.node import joint_round, persistence
from ilora_app.node.config import NodeError
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.sources import DataError

_UNTOLD = "its data cannot be used"

Handler = Callable[[Message, Context], Message]

# Mistakes in what the node was given, as opposed to faults of the program.
MISTAKES = (ConfigError, NodeError, DataError, ModelError, wire.WireError)


def answer_mistakes(handler: Handler) -> Handler:
    """Reply with the message of a mistake, where Flower would log it as a crash."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except MISTAKES as error:
            return _mistake(error, message, context)

    return answer


def told(error: Exception, context: Context) -> str:
    """What the server is told of a mistake; this node's log has all of it.

    A node with data of its own tells no values, columns or folders of it.
    """
    own = context.node_config.get(wire.DATA_PATH)
    if not isinstance(own, str) or not own:
        return str(error)
    log(ERROR, "%s", error)
    if isinstance(error, DataError):
        return f"{error.told or _UNTOLD}; its own log says more"
    return str(error).replace(own, "its own folder")


def _mistake(error: Exception, message: Message, context: Context) -> Message:
    code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    return Message(Error(code=code, reason=told(error, context)), reply_to=message)


def train_together(pairs: Sequence[tuple[Message, Context]]) -> list[Message]:
    """Train nodes of one process for one round: those that are alike as one batch.

    Args:
        pairs: messages for TRAIN, in a fixed order, with the contexts of their nodes.

    Returns:
        The reply to each.

    """
    replies: dict[int, Message] = {}
    batches: list[list[tuple[int, LocalRound]]] = []
    for index, (message, context) in enumerate(pairs):
        try:
            local = begin(message, context)
        except MISTAKES as error:
            replies[index] = _mistake(error, message, context)
            continue
        found = next((b for b in batches if joint_round.alike(b[0][1], local)), None)
        if found is None:
            batches.append([(index, local)])
        else:
            found.append((index, local))
    for batch in batches:
        rounds = [local for _, local in batch]
        for (index, local), content in zip(
            batch, joint_round.train_all(rounds), strict=True
        ):
            replies[index] = reply(local, content, *pairs[index])
    return [replies[index] for index in range(len(pairs))]


def begin(message: Message, context: Context) -> LocalRound:
    """Read what a message for TRAIN asks of a node."""
    node = node_of(message, context)
    persistence.restore(message, context)
    return LocalRound.begin(node, message, context.state)


def reply(
    local: LocalRound, content: RecordDict, message: Message, context: Context
) -> Message:
    """Keep what the node must not lose, and answer."""
    keep = local.node.settings.keeping.keep_checkpoints + 1
    persistence.keep(message, context, keep)
    return Message(content, reply_to=message)


def node_of(message: Message, context: Context) -> Node:
    """Read what this node is, with the classes that the server sent."""
    facts: Any = message.content.config_records.get(wire.CONFIG, {})
    return Node.of(context, tuple(facts.get(wire.CLASSES, ())))
