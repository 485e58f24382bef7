"""The ClientApp: says its rank, trains what it is sent, evaluates what it is sent."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from ilora_app import node_state, wire
from ilora_app.config import ConfigError
from ilora_app.corrections import ControlVariatesClient
from ilora_app.lora.factors import AdapterState, only
from ilora_app.node import Node, NodeError
from ilora_app.quiet import quiet_libraries
from ilora_app.strategies.client import ClientHalf
from ilora_app.strategies.messages import Received
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.sources import DataError

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
        node = _node(message, context)
        part = node.part()
        facts = {
            wire.RANK: node.offered_rank(),
            wire.EXAMPLES: len(part.train),
            wire.HELD_OUT: len(part.held_out),
            wire.IDENTITY: node_state.identity(context.node_config),
            wire.STATE_ROUND: node_state.taken_up(message, context),
        }
        if not node.data_path:
            facts[wire.PARTITION] = node.partition
            facts[wire.PARTITIONS] = node.partitions
        problems = node.problems()
        if problems:
            facts[wire.PROBLEM] = "; ".join(problems)
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
    config: Any = message.content.config_records[wire.CONFIG]
    node = _node(message, context)
    node_state.taken_up(message, context)
    received = Received.read(message, context.state, keep=True)
    half, backbone = node.client_half(), node.backbone()
    start = _install(node, half, received, backbone, int(config[wire.ROUND]))
    content: dict[str, Any] = {}
    if config.get(wire.EVALUATE):
        content[wire.EVALUATION] = _measured(node, backbone, config[wire.TEST_SPLIT])
    plan, rank = received.plan, received.rank
    parameters = only(backbone.parameters(), plan.trains)
    examples = node.pooled() if plan.pooled else node.examples()[0]
    local = node.local_training(plan.pooled)

    correction, full_gradient = None, None
    if wire.CORRECTION in message.content.array_records:
        correction = ControlVariatesClient(
            wire.decode_tensors(message.content.array_records[wire.CORRECTION]),
            start.factors,
            context.state,
            node.settings.method.control_basis,
            int(config[wire.ROUND]),
            int(config[wire.TAKEN]),
        )
        if node.settings.method.control_estimator == "full-pass":
            full_gradient = training.mean_gradient(
                backbone, examples, local.eval_batch_size, list(parameters)
            )
    outcome = training.train(
        backbone,
        examples,
        local,
        node.seed(int(config[wire.ROUND])),
        list(parameters),
        [correction.hook(parameters)] if correction else [],
        half.penalty(parameters, rank),
    )
    trained = backbone.collect()
    received.memory.keep_own(trained.named_tensors(), plan)
    upload = half.finish(start, trained, rank)
    metrics = {
        wire.EXAMPLES: outcome.examples,
        wire.LOSS: outcome.loss,
        wire.SECONDS: outcome.seconds,
        wire.RANK: upload.rank,
    }
    content[wire.ARRAYS] = wire.encode_tensors(only(upload.tensors, plan.up))
    if upload.slots:
        content[wire.SLOTS] = wire.encode_tensors(upload.slots)
    if correction:
        deltas = correction.finish(
            full_gradient, upload.rank if upload.pruned else None
        )
        content[wire.CORRECTION] = wire.encode_tensors(deltas)
        metrics[wire.ANEW] = int(correction.anew)
    content[wire.METRICS] = MetricRecord({**metrics})
    node_state.keep(message, context, node.settings.keeping.keep_checkpoints + 1)
    return Message(RecordDict(content), reply_to=message)


@app.evaluate()
@_answering_mistakes
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the received model on this node's held-out examples."""
    config: Any = message.content.config_records[wire.CONFIG]
    node = _node(message, context)
    node_state.taken_up(message, context)
    received = Received.read(message, context.state, keep=False)
    backbone = node.backbone()
    half = ClientHalf(node.settings.method)
    if node.strategy.personal:
        half = node.client_half()
    _install(node, half, received, backbone, int(config[wire.ROUND]))
    metrics = _measured(node, backbone, config[wire.TEST_SPLIT])
    return Message(RecordDict({wire.METRICS: metrics}), reply_to=message)


def _measured(node: Node, backbone: Backbone, on_test: bool) -> MetricRecord:
    """Measure the installed model on held-out examples, and on the test split."""
    size = node.settings.training.eval_batch_size
    _, held_out = node.examples()
    found = {wire.LOSS: 0.0, wire.ACCURACY: 0.0}
    if len(held_out):
        found = training.evaluate(backbone, held_out, size)
    test = node.test() if on_test else None
    if test:
        result = training.evaluate(backbone, test, size)
        found[wire.TEST_LOSS] = result[wire.LOSS]
        found[wire.TEST_ACCURACY] = result[wire.ACCURACY]
    return MetricRecord({wire.EXAMPLES: len(held_out), **found})


def _node(message: Message, context: Context) -> Node:
    """Read what this node is, with the classes that the server sent."""
    facts: Any = message.content.config_records.get(wire.CONFIG, {})
    return Node.of(context, tuple(facts.get(wire.CLASSES, ())))


def _install(
    node: Node,
    half: ClientHalf,
    received: Received,
    backbone: Backbone,
    server_round: int,
) -> AdapterState:
    """Put the received model into this process's backbone; return its start."""
    start = half.start(
        received.tensors, backbone.shapes(), received.rank, node.seed(server_round)
    )
    taken_out = received.taken_out(start, backbone.directions)
    backbone.install(start, taken_out, received.base)
    return start
