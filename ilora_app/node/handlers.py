"""What a node answers to each kind of message."""

from flwr.app import ConfigRecord, Context, Message, RecordDict

from ilora_app import wire
from ilora_app.node import local_evaluation, persistence, record_part, secure_steps
from ilora_app.node.answers import (
    MISTAKES,
    answer_errors,
    begin,
    node_of,
    reply,
    told,
)
from ilora_app.tasks.libraries import quiet_libraries

quiet_libraries()


@answer_errors
def query(message: Message, context: Context) -> Message:
    """Say which rank this node can afford and how much data it holds."""
    facts: dict[str, int | str] = {}
    try:
        node = node_of(message, context)
        facts = node.facts()
        record_part.check(node, int(facts[wire.EXAMPLES]))
        if name := persistence.identity(context.node_config):
            facts[wire.IDENTITY] = name
        facts[wire.STATE_ROUND] = persistence.restore(message, context)
    except MISTAKES as error:
        facts = {wire.PROBLEM: told(error)}
    return Message(RecordDict({wire.CONFIG: ConfigRecord({**facts})}), reply_to=message)


@answer_errors
def train(message: Message, context: Context) -> Message:
    """Train the received factors and head for one round."""
    local = begin(message, context)
    return reply(local, local.train(), message, context)


@answer_errors
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's held-out examples."""
    node = node_of(message, context)
    secure_steps.expected(node, message)
    record_part.expected(node, message)
    persistence.restore(message, context)
    content = local_evaluation.evaluate(node, message, context.state)
    if wire.SECURE in message.content:
        content = secure_steps.evaluation(node, content, message, context)
    return Message(content, reply_to=message)


@answer_errors
def secure(message: Message, context: Context) -> Message:
    """Take a step of secure aggregation: keys, shares, sums of products, or masks."""
    persistence.restore(message, context)
    content = secure_steps.step(node_of(message, context), message, context)
    return Message(content, reply_to=message)
