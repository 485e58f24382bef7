"""What a node does around its training, beside ten local steps.

    python -m benchmarks.client [--models minilm,roberta-base,vit-base] [--json DIR]

Each model is one node of rank 16 that trains factors and head, with control variates:
messages are those of the strategy, and the node reads, installs, trains, collects,
answers and keeps its state as ``client_app`` does, with all that is loaded and encoded
once a process already there. Replies are aggregated, so that later rounds have offsets
and control variates; the first is not counted. ``minilm`` is the packaged model on an
eighth of CLINC150; the others have published shapes, random weights and examples.

Flower's own part is taking a message out of the objects of the wire, and putting the
reply into such, with a digest of each. Its requests and its process are left out.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, MessageType
from flwr.app import RecordDict as Records
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from benchmarks.rows import Row, report
from benchmarks.shapes import RandomExamples, make_backbone, shapes
from ilora_app import methods, strategies, wire
from ilora_app.federation.membership import Membership
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import standard_factors
from ilora_app.node import answers, local_round, persistence
from ilora_app.node.data import NodeData
from ilora_app.node.instructions import Instructions
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.node.packing import Packing
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Examples

RANK, NODES, BATCH, KEY = 16, 8, 16, "0" * 16
TARGET = "<= 0.02"
JOB = {"head": "trained", "drift-correction": "control-variates", "local-steps": 10}
TRAINING, REST = "training", "the rest"
PARTS: tuple[tuple[str, Any, str], ...] = (
    (TRAINING, training, "train"),
    ("settings and rank", Node, "of"),
    ("decode", Instructions, "read"),
    ("install", local_round, "install_start"),
    ("collect", Backbone, "collect"),
    ("encode", Packing, "arrays"),
    ("encode", Packing, "correction"),
    ("state on disk", persistence, "restore"),
    ("state on disk", persistence, "keep"),
)


class Stopwatch:
    """Seconds of the parts of a round, none of which lies in another."""

    def __init__(self) -> None:
        self.rounds: list[dict[str, float]] = []

    @contextmanager
    def round(self) -> Iterator[None]:
        """Time one; what is in no part is the rest."""
        self.rounds.append(defaultdict(float))
        clock = time.perf_counter()
        yield
        whole = time.perf_counter() - clock
        self.rounds[-1][REST] = whole - sum(self.rounds[-1].values())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part."""
        clock = time.perf_counter()
        yield
        if self.rounds:
            self.rounds[-1][name] += time.perf_counter() - clock

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time the functions of ``PARTS``, wherever they are called."""
        before = [(owner, name, vars(owner)[name]) for _, owner, name in PARTS]
        for label, owner, name in PARTS:
            setattr(owner, name, self._timed(label, owner, name))
        try:
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)

    def _timed(self, label: str, owner: Any, name: str) -> Any:
        call = getattr(owner, name)

        def timed(*args: Any, **more: Any) -> Any:
            with self.part(label):
                return call(*args, **more)

        own = isinstance(vars(owner)[name], classmethod)  # bound to its class already
        return staticmethod(timed) if own else timed

    def median(self, name: str) -> float:
        """Seconds of a part, without the first round."""
        return statistics.median(one[name] for one in self.rounds[1:])


@dataclass(frozen=True)
class Made:
    """Data of a node that are drawn, in the place of ``NodeData``."""

    model: Backbone
    drawn: Examples
    key: str = "0"

    def backbone(self) -> Backbone:
        """The model."""
        return self.model

    def examples(self) -> tuple[Examples, Examples]:
        """To train on, and held out."""
        return self.drawn, self.drawn


class Client:
    """The one node."""

    def __init__(self, data: Any, watch: Stopwatch) -> None:
        self.data, self.watch = data, watch

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer as ``client_app`` does."""
        if message.metadata.message_type == MessageType.QUERY:
            count = len(self.data.examples()[0])
            facts = {wire.RANK: RANK, wire.PARTITION: 0, wire.EXAMPLES: count}
            content = Records({wire.CONFIG: ConfigRecord(facts)})
            return Message(content, reply_to=message)
        sent = message.content
        objects = get_all_nested_objects(sent)
        bytes_of = {name: part.deflate() for name, part in objects.items()}
        with self.watch.round():
            with self.watch.part("Flower's objects"):
                content: Any = inflate_object_from_contents(sent.object_id, bytes_of)
            message.content = content
            node = replace(Node.of(context), data=self.data)
            persistence.restore(message, context)
            local = LocalRound.begin(node, message, context.state)
            reply = answers.reply(local, local.train(), message, context)
            with self.watch.part("Flower's objects"):
                for part in get_all_nested_objects(reply.content).values():
                    part.deflate()
        return reply


class Unheard:
    """Takes events, and keeps none."""

    def event(self, kind: str, **facts: Any) -> None:
        """Take one."""


def data_of(name: str, settings: Settings) -> Any:
    """Model and examples of a node."""
    if name == "minilm":
        how = settings.model, settings.data, settings.run.seed
        found = NodeData(*how, 0, NODES)
        found.examples()
        return found
    shape = shapes()[name]
    count = settings.training.batch_size * settings.training.local_steps
    return Made(make_backbone(shape, "float32"), RandomExamples.of(shape, count, 0))


def measure(name: str, rounds: int, config: dict[str, Any]) -> Stopwatch:
    """Rounds of a node, each in its parts."""
    config = {**parsing.dump(Settings()), **JOB, **config}
    settings = methods.resolve(parsing.load(config))
    data, watch = data_of(name, settings), Stopwatch()
    backbone: Backbone = data.backbone()
    strategy = strategies.build(settings, Membership(), Unheard())
    strategy.participation = replace(
        strategy.participation, min_available_nodes=1, min_train_nodes=1
    )
    if settings.model.initialisation == "qr":
        factors = backbone.directions(RANK)
    else:
        draw = torch.Generator().manual_seed(0)
        factors = standard_factors(backbone.shapes(), RANK, draw)
    initial = AdapterState(factors, backbone.initial_head()).named_tensors()
    arrays, facts = wire.model_record(initial), ConfigRecord({wire.RUN_KEY: KEY})
    with tempfile.TemporaryDirectory() as folder, watch.watching():
        own = {wire.RANK: RANK, persistence.STATE_PATH: folder}
        client: Any = Client(data, watch)
        grid = LocalGrid(client, config, 1, {0: own})
        strategy.begin(arrays)
        for number in range(1, rounds + 2):
            asked = strategy.configure_train(number, arrays, facts, grid)
            replies = list(grid.send_and_receive(list(asked)))
            taken, _ = strategy.aggregate_train(number, replies)
            assert taken is not None, "the reply was left out"
    return watch


def rows_of(name: str, watch: Stopwatch) -> list[Row]:
    """The share of all that is no training, and its parts."""
    steps = watch.median(TRAINING)
    around = statistics.median(
        sum(one.values()) - one[TRAINING] for one in watch.rounds[1:]
    )
    against = f"10 local steps {steps:.2f} s"
    what, value = f"{name}: around training", f"{1e3 * around:.1f} ms"
    rows = [Row(what, value, against, around / steps, TARGET)]
    parts = dict.fromkeys(n for one in watch.rounds for n in one if n != TRAINING)
    for part in parts:
        s = watch.median(part)
        rows.append(Row(f"{name}: {part}", f"{1e3 * s:.2f} ms", against, s / steps))
    return rows


def main() -> None:
    """Print rows for each model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="minilm,roberta-base,vit-base")
    for option, value in (("--rounds", 4), ("--threads", 1), ("--batch", BATCH)):
        parser.add_argument(option, type=int, default=value)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    config = {"batch-size": given.batch, "threads-per-client": given.threads}
    for name in given.models.split(","):
        rows += rows_of(name, measure(name, given.rounds, config))
        load = f"{os.getloadavg()[1]:.1f}, with {os.cpu_count()} threads"
        rows.append(Row(f"{name}: load of the machine over five minutes", load))
        report("client", rows, given.json)


if __name__ == "__main__":
    main()
