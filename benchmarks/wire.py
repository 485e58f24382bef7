"""Bytes of a round on the wire, beside the numbers that a strategy has to send.

    python -m benchmarks.wire [--json DIR] [--size 768] [--modules 24]

Four clients of ranks 2, 4, 8 and 16 on layers of one shape, and a head of 150 classes.
Messages and replies are the app's; nobody trains: what comes back is noise. Bytes are
those of the third round, both ways, as Flower counts them (data, names, config and
metrics); its own objects around them are a row of their own.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, MetricRecord
from flwr.app import RecordDict as Records
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from torch import Tensor

from benchmarks.formulas import FORMULAS, HEADLESS, Sizes
from benchmarks.rows import Row, report
from ilora_app import wire
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState, LoraFactors, only
from ilora_app.lora.initialisation import standard_factors
from ilora_app.methods import METHODS, Method
from ilora_app.node.instructions import Instructions
from ilora_app.node.packing import Packing, remembered
from ilora_app.settings import MethodSettings
from ilora_app.strategies import LoraStrategy

RANKS, CLASSES, ROUNDS = (2, 4, 8, 16), 150, 3
TARGET = "<= 1.02"
# Strategies beside those under their own names, and settings that leave ranks alone.
NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in METHODS if name not in ("ilora", "linear-probe")},
    "ilora-default": ("ilora", {}),
    "ilora": ("ilora", {"cut": "product", "decomposition": "qr"}),
    "ilora-merge": ("ilora", {"cut": "product", "residual": "merge"}),
    "hetlora": ("hetlora", {"gamma": 1.0}),
}
LABELS = {"ilora": "ilora as published", "ilora-default": "ilora"}


class Nodes:
    """Clients that answer at once."""

    def __init__(self, method: Method, shapes: dict[str, Any], dtype: str) -> None:
        self.half = type(method).client_half(MethodSettings())
        self.shapes = {} if method.whole_model else shapes
        self.dtype, self.groups = dtype, remembered(type(method))
        self.asked: dict[int, Records] = {}
        self.replied: dict[int, Records] = {}

    def __call__(self, message: Message, context: Context) -> Message:
        """Say who this is, or send noise back."""
        k = int(context.node_config[wire.PARTITION])
        if message.metadata.message_type == MessageType.QUERY:
            facts = {wire.RANK: RANKS[k], wire.PARTITION: k, wire.EXAMPLES: 100}
            content = Records({wire.CONFIG: ConfigRecord(facts)})
        else:
            content = self.train(message, context, k)
            self.asked[k], self.replied[k] = message.content, content
        return Message(content, reply_to=message)

    def train(self, message: Message, context: Context, k: int) -> Records:
        """Take what came for what was trained, with noise."""
        received = Instructions.read(message, context.state, keep=True)
        plan, rank, half = received.plan, received.rank, self.half
        start = half.start(received.tensors, self.shapes, rank, seed=k)
        held = start.named_tensors()
        draw = torch.Generator().manual_seed(received.round * 10 + k)
        if watcher := half.watcher(held):
            _step(watcher, held, draw)
        noise = {
            name: value.detach() + 1e-3 * torch.randn(value.shape, generator=draw)
            for name, value in half.trained(held, plan.trains).items()
        }
        trained = AdapterState.from_named_tensors({**held, **noise})
        received.state.keep_own(trained.named_tensors(), plan)
        upload = half.finish(start, trained, rank)
        config: Any = message.content[wire.CONFIG]
        taken = int(config.get(wire.UPLOAD_TAKEN, 0))
        encoding = wire.Encoding(self.dtype, seed=k)
        packing = Packing(received, encoding, self.groups, taken)
        sent = packing.arrays(only(upload.tensors, plan.up))
        numbers = {wire.EXAMPLES: 100, wire.LOSS: 1.0, wire.SECONDS: 1.0}
        metrics = MetricRecord({**numbers, wire.RANK: upload.rank})
        content = Records({wire.ARRAYS: sent, wire.METRICS: metrics})
        for name, more in ((wire.SLOTS, upload.slots), (wire.EXTRA, upload.extra)):
            if more:
                content[name] = wire.encode_tensors(more)
        return content


def _step(watcher: Any, held: dict[str, Tensor], draw: torch.Generator) -> None:
    """Have what watches an optimizer see one step, of random gradients."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    watcher.attach(optimizer)
    for value in held.values():
        if value.requires_grad:
            value.grad = torch.randn(value.shape, generator=draw)
    optimizer.step()


def exchanged(name: str, dtype: str, shapes: dict[str, Any]) -> list[Records]:
    """What goes down and up in the last of a few rounds."""
    kind, settings = NAMES[name]
    method = METHODS[kind](**settings)
    strategy = LoraStrategy(method, wire_dtype=dtype)
    nodes = Nodes(method, shapes, dtype)
    grid = LocalGrid(nodes, {}, len(RANKS))  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(0)
    size = next(iter(shapes.values()))[1]
    head = {
        "classifier.weight": torch.randn(CLASSES, size, generator=draw),
        "classifier.bias": torch.zeros(CLASSES),
    }
    if method.whole_model:
        factors = LoraFactors({})
        head |= {m: torch.randn(s, generator=draw) for m, s in shapes.items()}
    else:
        factors = standard_factors(shapes, max(RANKS), draw)
    arrays = wire.model_record(AdapterState(factors, head).named_tensors())
    strategy.begin(arrays)
    for number in range(1, ROUNDS + 1):
        asked = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        strategy.aggregate_train(number, grid.send_and_receive(list(asked)))
    return [*nodes.asked.values(), *nodes.replied.values()]


def expected(name: str, shapes: dict[str, Any]) -> int:
    """Numbers that the formula has, both ways, with the head."""
    pairs = shapes.values()
    sizes = Sizes(
        sum(d_out for d_out, _ in pairs),
        sum(d_in for _, d_in in pairs),
        len(shapes),
        RANKS,
        sum(math.prod(pair) for pair in pairs),
    )
    head = 0 if name in HEADLESS else CLASSES * (next(iter(pairs))[1] + 1)
    ranks = RANKS[:1] if name == "centralized" else RANKS
    up, down = FORMULAS[name]
    return sum(
        up(sizes, rank, ROUNDS) + down(sizes, rank, ROUNDS) + 2 * head for rank in ranks
    )


def megabytes(number: float) -> str:
    """Write bytes for people."""
    return f"{number / 1e6:.3f} MB"


def row(name: str, dtype: str, shapes: dict[str, Any]) -> list[Row]:
    """A strategy's bytes beside its formula; and with Flower's objects for ILoRA."""
    contents = exchanged(name, dtype, shapes)
    found = sum(wire.content_bytes(content) for content in contents)
    width = {"float32": 4, "bfloat16": 2, "int8": 1}[dtype]
    wanted = width * expected(name, shapes)
    what, ratio = (
        f"{LABELS.get(name, name)}, {dtype}",
        found / wanted if wanted else None,
    )
    rows = [Row(what, megabytes(found), megabytes(wanted), ratio, TARGET)]
    if name == "ilora-default":
        objects = sum(
            len(one.deflate())
            for content in contents
            for one in get_all_nested_objects(content).values()
        )
        what = f"{what}, Flower's objects around them counted"
        rows.append(Row(what, megabytes(objects), megabytes(wanted), objects / wanted))
    return rows


def main() -> None:
    """Print a row a strategy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--modules", type=int, default=24)
    given = parser.parse_args()
    shapes = {
        f"encoder.layer.{i // 2}.attention.self.{'query' if i % 2 else 'value'}": (
            given.size,
            given.size,
        )
        for i in range(given.modules)
    }
    rows = [one for name in NAMES for one in row(name, "float32", shapes)]
    for dtype in ("bfloat16", "int8"):
        rows += row("ilora-default", dtype, shapes)
    report("wire", rows, given.json)


if __name__ == "__main__":
    main()
