"""The ClientApp: says its rank, trains what it is sent, evaluates what it is sent."""

from collections.abc import Callable
from functools import wraps

from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from ilora_app import wire
from ilora_app.config import ConfigError
from ilora_app.corrections import ControlVariatesClient
from ilora_app.node import Node, NodeError
from ilora_app.quiet import quiet_libraries
from ilora_app.strategies.state import Share
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.data import DataError
from ilora_app.tasks.models import ModelError

quiet_libraries()
app = ClientApp()

Handler = Callable[[Message, Context], Message]

# Mistakes in what the node was given, as opposed to faults of the program.
_EXPECTED = (ConfigError, NodeError, DataError, ModelError, wire.WireError)


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say which rank this node can afford and how much data it holds."""
    facts: dict[str, int | str] = {}
    try:
        node = Node.of(context)
        part = node.part()
        facts = {
            wire.RANK: node.rank,
            wire.PARTITION: node.partition,
            wire.EXAMPLES: len(part.train),
            wire.HELD_OUT: len(part.held_out),
        }
        if len(part.train) == 0:
            facts[wire.PROBLEM] = f"partition {node.partition} holds no examples"
    except _EXPECTED as error:
        facts[wire.PROBLEM] = str(error)
    return Message(RecordDict({wire.CONFIG: ConfigRecord({**facts})}), reply_to=message)


def _answering_mistakes(handler: Handler) -> Handler:
    """Reply with the message of a mistake, where Flower would log it as a crash."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        try:
            return handler(message, context)
        except _EXPECTED as error:
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code=code, reason=str(error)), reply_to=message)

    return answer


@app.train()
@_answering_mistakes
def train(message: Message, context: Context) -> Message:
    """Train the received factors and head for one round, with drift correction."""
    node, received, backbone = _installed(message, context)
    examples, _ = node.examples()
    method, local = node.settings.method, node.settings.training
    correction, full_gradient = None, None
    if wire.CORRECTION in message.content.array_records:
        correction = ControlVariatesClient(
            wire.decode_tensors(message.content.array_records[wire.CORRECTION]),
            received.adapter.factors,
            context.state,
            method.control_basis,
            _number(message, wire.ROUND),
            _number(message, wire.TAKEN),
        )
        if method.control_estimator == "full-pass":
            full_gradient = training.mean_gradient(
                backbone, examples, local.eval_batch_size
            )
    outcome = training.train(
        backbone,
        examples,
        local,
        node.seed(_number(message, wire.ROUND)),
        [correction.hook(backbone.parameters())] if correction else [],
    )
    content = RecordDict(
        {
            wire.ARRAYS: wire.encode_tensors(backbone.collect().named_tensors()),
            wire.METRICS: MetricRecord(
                {
                    wire.EXAMPLES: outcome.examples,
                    wire.LOSS: outcome.loss,
                    wire.SECONDS: outcome.seconds,
                }
            ),
        }
    )
    if correction:
        content[wire.CORRECTION] = wire.encode_tensors(correction.finish(full_gradient))
    return Message(content, reply_to=message)


@app.evaluate()
@_answering_mistakes
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's held-out examples."""
    node, _, backbone = _installed(message, context)
    _, held_out = node.examples()
    found = training.evaluate(
        backbone, held_out, node.settings.training.eval_batch_size
    )
    metrics = MetricRecord({wire.EXAMPLES: len(held_out), **found})
    return Message(RecordDict({wire.METRICS: metrics}), reply_to=message)


def _installed(message: Message, context: Context) -> tuple[Node, Share, Backbone]:
    """Put the received model into this process's backbone."""
    node = Node.of(context)
    arrays = message.content.array_records[wire.ARRAYS]
    received = Share.from_named_tensors(wire.decode_tensors(arrays))
    backbone = node.backbone()
    backbone.install(received.adapter, received.offset)
    return node, received, backbone


def _number(message: Message, key: str) -> int:
    return int(message.content.config_records[wire.CONFIG][key])  # type: ignore[arg-type]
