"""Runs of one round whose messages are looked at, for ``benchmarks.inversion``."""

import tempfile
from collections.abc import Iterable
from typing import Any

import torch
from flwr.app import Context, Message, MessageType, RecordDict
from torch import Tensor

from ilora_app import client_app, wire
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.node.answers import train_together
from ilora_app.secure import of_clients
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import data

Config = dict[str, Any]
BIAS = "head.classifier.bias"
COMMON: Config = {
    "num-server-rounds": 1, "head": "trained", "fraction-evaluate": 0.0,
    "test-examples": 64, "report": False, "keep-checkpoints": 0, "optimizer": "sgd",
    "learning-rate": 0.05, "save-adapters": False, "drift-correction": "none",
    "decomposition": "qr", "label-column": "domain", "initialisation": "qr",
    "aggregate": "products",
}  # fmt: skip
SECURE: Config = {"secure-aggregation": True}


class Watching(LocalGrid):
    """Keeps what nodes answer in training; one of them may be away."""

    def __init__(self, *arguments: Any, away: int = 0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.away, self.sent, self.came = away, dict[int, Any](), dict[int, Any]()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer, and look at it."""
        sent = list(messages)
        replies = list(super().send_and_receive(sent, timeout=timeout))
        if sent and sent[0].metadata.message_type == MessageType.TRAIN:
            self.sent = {m.metadata.dst_node_id: m.content for m in sent}
            replies = [r for r in replies if r.metadata.src_node_id != self.away]
            self.came = {r.metadata.src_node_id: r.content for r in replies}
        return replies


def run(
    config: Config, nodes: int, own: dict[int, Config] | None = None, away: int = 0
) -> tuple[Watching, Server]:
    """Run one round, and return what was seen, and the server."""
    with tempfile.TemporaryDirectory() as folder:
        values = parsing.dump(Settings()) | COMMON | config
        values |= {"output-dir": f"{folder}/run"}
        how = client_app.app, values, nodes, own
        grid = Watching(*how, away=away, train_together=train_together)
        prepared = preflight.prepare(Context(1, 0, {}, RecordDict(), values).run_config)
        server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
        server.run()
    return grid, server


def truth(server: Server, node: int, nodes: int) -> Tensor:
    """Shares of the classes in what a node trains on."""
    prepared = server.prepared
    settings, seed = prepared.settings.data, prepared.settings.run.seed
    rows = data.partition(settings, node - 1, nodes, seed).train[settings.label_column]
    counts = torch.tensor([rows.count(label) for label in prepared.labels])
    return counts.double() / counts.sum()


def masked(server: Server, content: RecordDict, nodes: int) -> dict[str, Tensor]:
    """A node's masked vector, read as if nothing masked it."""
    like = server.strategy._like  # type: ignore[attr-defined]
    length = sum(torch.Size(shape).numel() for shape in like.values())
    vector = wire.read_masked(content[wire.SECURE], length + 1)[:-1]
    point, _ = of_clients(nodes)
    return wire.unflatten(vector.astype("i8") * 2.0**-point.bits, like)
