"""The ClientApp: says its rank, trains what it is sent, evaluates what it is sent.

What a node needs takes seconds to import. Flower's simulation engine loads this file
before it starts Ray, in a process that never trains: so the first message imports it.
"""

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which rank this node can afford and how much data it holds."""
    from ilora_app.node import handlers

    return handlers.query(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received factors and head for one round."""
    from ilora_app.node import handlers

    return handlers.train(message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's held-out examples."""
    from ilora_app.node import handlers

    return handlers.evaluate(message, context)


@app.query("secure")
def secure(message: Message, context: Context) -> Message:
    """Take a step of secure aggregation: keys, shares, sums of products, or masks."""
    from ilora_app.node import handlers

    return handlers.secure(message, context)


@app.query("wake")
def wake(message: Message, context: Context) -> Message:
    """Import what the messages after this one need; nothing else happens."""
    from ilora_app.node import handlers  # noqa: F401

    return Message(RecordDict(), reply_to=message)
