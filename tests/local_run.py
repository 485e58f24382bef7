"""Runs the whole app in this process, with nodes that can be made to misbehave."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas
from flwr.app import Context, Message, RecordDict

from ilora_app import client_app
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.node.answers import train_together
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server

Tamper = Callable[[Message], Message | None]


class FaultyGrid(LocalGrid):
    """A LocalGrid whose replies pass through ``tamper``; None drops a reply.

    ``rewrite`` changes messages to nodes, as a server that deviates does. ``arrivals``
    maps a node to the number of exchanges before it is there.
    """

    def __init__(self, *args: Any, tamper: Tamper | None = None, **kwargs: Any):
        self.arrivals: dict[int, int] = kwargs.pop("arrivals", {})
        self.reverse: bool = kwargs.pop("reverse", False)
        self.rewrite: Callable[[Message], None] | None = kwargs.pop("rewrite", None)
        self.tamper = tamper or (lambda reply: reply)
        self.exchanges = 0
        self.sent: list[Message] = []
        super().__init__(*args, train_together=train_together, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        nodes = super().get_node_ids()
        return [n for n in nodes if self.arrivals.get(n, 0) <= self.exchanges]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        self.exchanges += 1
        messages = list(messages)
        for message in messages if self.rewrite else ():
            self.rewrite(message)
        self.sent += messages
        if self.reverse:
            messages = messages[::-1]
        replies = super().send_and_receive(messages, timeout=timeout)
        kept = [self.tamper(reply) for reply in replies]
        return [reply for reply in kept if reply is not None]


def run(
    run_config: dict[str, Any], nodes: int = 3, **grid_settings: Any
) -> tuple[Path, FaultyGrid, Server]:
    """Run the app; returns the run folder, the grid and the server."""
    grid = FaultyGrid(client_app.app, run_config, nodes, **grid_settings)
    context = Context(1, 0, {}, RecordDict(), run_config)
    prepared = preflight.prepare(context.run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    server.run()
    return server.folder.path, grid, server


def metrics(folder: Path, times: bool = False) -> pandas.DataFrame:
    """metrics.csv, without the columns that hold seconds."""
    table = pandas.read_csv(folder / "metrics.csv")
    return table if times else table[[c for c in table if not c.startswith("seconds")]]


def files(folder: Path) -> dict[str, bytes]:
    """What is exported, by name."""
    exported = [p for part in ("adapter*", "model") for p in folder.glob(f"{part}/*")]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in exported
        if path.suffix == ".safetensors"
    }
