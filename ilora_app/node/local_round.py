"""One round on a client: install what came, train or measure it, pack what goes back.

Nothing of a federation is decided here: the method's client half says what training
starts from and what is returned, the drift correction changes gradients, and
:mod:`ilora_app.tasks.training` trains.
"""

from typing import Any

import torch
from flwr.app import Message, MetricRecord, RecordDict

from ilora_app import wire
from ilora_app.corrections import ClientCorrection, client_half
from ilora_app.lora.factors import AdapterState, LoraFactors, only
from ilora_app.methods import ClientHalf
from ilora_app.node.instructions import Instructions
from ilora_app.node.node import Node
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.features import ridge_sums


def train(node: Node, message: Message, records: RecordDict) -> RecordDict:
    """Train the received factors and head for one round, with drift correction.

    Args:
        node: this client.
        message: of the server.
        records: ``context.state``.

    Returns:
        Content of the reply.

    Raises:
        WireError: the client does not hold what the server counts on.

    """
    config: Any = message.content.config_records[wire.CONFIG]
    instructions = Instructions.read(message, records, keep=True)
    plan, rank = instructions.plan, instructions.rank
    half, backbone = node.client_half(), node.data.backbone()
    start = _install(node, half, instructions, backbone)
    content: dict[str, Any] = {}
    if config.get(wire.EVALUATE):
        content[wire.EVALUATION] = _measure(node, backbone, config[wire.TEST_SPLIT])

    parameters = only(backbone.parameters(), plan.trains)
    examples = node.pooled() if plan.pooled else node.data.examples()[0]
    local = node.local_training(plan.pooled, instructions.round)
    correction = _correction(node, message, instructions, start.factors)
    full_gradient = None
    if correction.wants_full_gradient:
        full_gradient = training.mean_gradient(
            backbone,
            examples,
            local.eval_batch_size,
            list(parameters),
            local.logit_adjustment,
        )
    outcome = training.train(
        backbone,
        examples,
        local,
        node.seed(instructions.round),
        list(parameters),
        [hook] if (hook := correction.hook(parameters)) else [],
        [half.penalty(parameters, rank), correction.penalty(parameters)],
        node.settings.head.rate,
    )

    trained = backbone.collect()
    instructions.state.keep_own(trained.named_tensors(), plan)
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
    uploads = correction.finish(full_gradient, upload.rank if upload.pruned else None)
    if uploads:
        content[wire.CORRECTION] = wire.encode_tensors(uploads)
        metrics[wire.CORRECTION_LOST] = int(correction.lost)
    content[wire.METRICS] = MetricRecord({**metrics})
    return RecordDict(content)


def evaluate(node: Node, message: Message, records: RecordDict) -> RecordDict:
    """Evaluate the received model on this node's held-out examples.

    Or add up what solves its head, where the server asks for that.

    Args:
        node: this client.
        message: of the server.
        records: ``context.state``.

    Returns:
        Content of the reply.

    Raises:
        WireError: the client does not hold what the server counts on.

    """
    config: Any = message.content.config_records[wire.CONFIG]
    instructions = Instructions.read(message, records, keep=False)
    backbone = node.data.backbone()
    half = ClientHalf(node.settings.method)
    if node.method.personal:
        half = node.client_half()
    _install(node, half, instructions, backbone)
    if config.get(wire.HEAD_SUMS):
        return _head_sums(node, backbone)
    metrics = _measure(node, backbone, config[wire.TEST_SPLIT])
    return RecordDict({wire.METRICS: metrics})


def _head_sums(node: Node, backbone: Backbone) -> RecordDict:
    """Sums of the training examples' features, for a head that the server solves."""
    examples, size = node.data.examples()[0], node.settings.training.eval_batch_size
    sums = ridge_sums(backbone, examples, size)
    tensors = {wire.GRAM: sums.gram, wire.CROSS: sums.cross}
    return RecordDict({wire.HEAD_SUMS: wire.encode_tensors(tensors, torch.float64)})


def _install(
    node: Node, half: ClientHalf, instructions: Instructions, backbone: Backbone
) -> AdapterState:
    """Put the received model into this process's backbone; return its start."""
    start = half.start(
        instructions.tensors,
        backbone.shapes(),
        instructions.rank,
        node.seed(instructions.round),
    )
    offset = instructions.offset(start, backbone.directions)
    backbone.install(start, offset, instructions.base)
    return start


def _correction(
    node: Node, message: Message, instructions: Instructions, received: LoraFactors
) -> ClientCorrection:
    """Make the client half of the drift correction."""
    config: Any = message.content.config_records[wire.CONFIG]
    record = message.content.array_records.get(wire.CORRECTION)
    return client_half(
        node.settings.method,
        config,
        None if record is None else wire.decode_tensors(record),
        received,
        instructions.state,
        instructions.round,
        int(config.get(wire.LAST_TAKEN, 0)),
    )


def _measure(node: Node, backbone: Backbone, on_test: bool) -> MetricRecord:
    """Measure the installed model on held-out examples, and on the test split."""
    size = node.settings.training.eval_batch_size
    _, held_out = node.data.examples()
    found = {wire.LOSS: 0.0, wire.ACCURACY: 0.0}
    if len(held_out):
        found = training.evaluate(backbone, held_out, size)
    test = node.data.test() if on_test else None
    if test:
        result = training.evaluate(backbone, test, size)
        found[wire.TEST_LOSS] = result[wire.LOSS]
        found[wire.TEST_ACCURACY] = result[wire.ACCURACY]
    return MetricRecord({wire.EXAMPLES: len(held_out), **found})
