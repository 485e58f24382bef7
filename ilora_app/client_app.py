"""The ClientApp: says its rank, trains what it is sent, evaluates what it is sent."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from ilora_app import wire
from ilora_app.node import local_round, persistence
from ilora_app.node.config import NodeError
from ilora_app.node.node import Node
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.libraries import quiet_libraries
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.sources import DataError

quiet_libraries()
app = ClientApp()

Handler = Callable[[Message, Context], Message]

# Mistakes in what the node was given, as opposed to faults of the program.
_MISTAKES = (ConfigError, NodeError, DataError, ModelError, wire.WireError)


def _answer_mistakes(handler: Handler) -> Handler:
    """Reply with the message of a mistake, where Flower would log it as a crash."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except _MISTAKES as error:
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code=code, reason=str(error)), reply_to=message)

    return answer


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which rank this node can afford and how much data it holds."""
    facts: dict[str, int | str] = {}
    try:
        facts = _node(message, context).facts()
        facts[wire.IDENTITY] = persistence.identity(context.node_config)
        facts[wire.STATE_ROUND] = persistence.restore(message, context)
    except _MISTAKES as error:
        facts = {wire.PROBLEM: str(error)}
    return Message(RecordDict({wire.CONFIG: ConfigRecord({**facts})}), reply_to=message)


@app.train()
@_answer_mistakes
def train(message: Message, context: Context) -> Message:
    """Train the received factors and head for one round."""
    node = _node(message, context)
    persistence.restore(message, context)
    content = local_round.train(node, message, context.state)
    persistence.keep(message, context, node.settings.keeping.keep_checkpoints + 1)
    return Message(content, reply_to=message)


@app.evaluate()
@_answer_mistakes
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's held-out examples."""
    node = _node(message, context)
    persistence.restore(message, context)
    content = local_round.evaluate(node, message, context.state)
    return Message(content, reply_to=message)


def _node(message: Message, context: Context) -> Node:
    """Read what this node is, with the classes that the server sent."""
    facts: Any = message.content.config_records.get(wire.CONFIG, {})
    return Node.of(context, tuple(facts.get(wire.CLASSES, ())))
