"""One evaluation on a client: install what came, and measure it, or sum for a head."""

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import Message, MetricRecord, RecordDict

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, Pair
from ilora_app.methods import ClientHalf
from ilora_app.node.instructions import Instructions
from ilora_app.node.node import Node
from ilora_app.node.private_part import private_part
from ilora_app.settings.kinds import kind
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.features import ridge_sums


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
    install_start(node, half, instructions, backbone)
    if config.get(wire.HEAD_SUMS):
        return _head_sums(node, backbone)
    private_part(node, backbone, instructions.state)
    metrics = measure(node, backbone, config[wire.TEST_SPLIT])
    return RecordDict({wire.METRICS: metrics})


def _head_sums(node: Node, backbone: Backbone) -> RecordDict:
    """Sums of the training examples' features, for a head that the server solves."""
    examples, size = node.data.examples()[0], node.settings.training.eval_batch_size
    sums = ridge_sums(backbone, examples, size)
    tensors = {wire.GRAM: sums.gram, wire.CROSS: sums.cross}
    return RecordDict({wire.HEAD_SUMS: wire.encode_tensors(tensors, torch.float64)})


def install_start(
    node: Node, half: ClientHalf, instructions: Instructions, backbone: Backbone
) -> tuple[AdapterState, Mapping[str, Pair]]:
    """Put the received model into this process's backbone.

    Returns:
        What it starts from, and what the base gives up of it.

    """
    start = half.start(
        instructions.tensors,
        backbone.shapes(),
        instructions.rank,
        node.seed(instructions.round),
    )
    offset = instructions.offset(start, backbone.directions)
    backbone.install(start, offset, instructions.base)
    return start, offset


def measure(node: Node, backbone: Backbone, on_test: bool) -> MetricRecord:
    """Measure the installed model on held-out examples, and on the test split."""
    size = node.settings.training.eval_batch_size
    _, held_out = node.data.examples()
    found = {wire.LOSS: 0.0}
    scored = kind(node.settings.model.task).has_accuracy
    if scored:
        found[wire.ACCURACY] = 0.0
    if len(held_out):
        found = training.evaluate(backbone, held_out, size)
    test = node.data.test() if on_test else None
    if test:
        result = training.evaluate(backbone, test, size)
        found[wire.TEST_LOSS] = result[wire.LOSS]
        if scored:
            found[wire.TEST_ACCURACY] = result[wire.ACCURACY]
    return MetricRecord({wire.EXAMPLES: len(held_out), **found})
