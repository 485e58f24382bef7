"""Runs that end where they stand, and go on among fresh nodes."""

from pathlib import Path

import pandas
import pytest

from ilora_app import client_app
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from tests.local_run import FaultyGrid, files, metrics


class PowerCutError(Exception):
    """Ends a run where it stands."""


class Failing(FaultyGrid):
    """A grid whose training messages of one round never come back.

    The nodes do their work first: what they keep is then one round ahead.
    """

    def __init__(self, *args, fails_in: int, **kwargs):
        self.fails_in = fails_in
        super().__init__(*args, **kwargs)

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = super().send_and_receive(messages, timeout=timeout)
        for message in messages:
            asked = message.content.config_records.get("config", {})
            if message.metadata.message_type == "train" and (
                asked["server-round"] == self.fails_in
            ):
                raise PowerCutError
        return replies


def start(run_config, grid) -> Server:
    prepared = preflight.prepare(run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    server.run()
    return server


def interrupted(run_config, fails_in: int = 2, nodes: int = 3, **settings) -> Path:
    grid = Failing(client_app.app, run_config, nodes, fails_in=fails_in, **settings)
    with pytest.raises(PowerCutError):
        start(run_config, grid)
    return Path(run_config["output-dir"])


def fresh_grid(run_config, nodes: int = 3, **settings) -> FaultyGrid:
    """Nodes of other ids, with nothing in their ``context.state``."""
    grid = FaultyGrid(client_app.app, run_config, nodes, **settings)
    contexts = {1000 - node: context for node, context in grid._contexts.items()}
    for node, context in contexts.items():
        context.node_id = node
    grid._contexts = contexts
    return grid


def resumed(run_config, nodes: int = 3, **settings) -> Server:
    run_config = run_config | {"resume": "latest"}
    return start(run_config, fresh_grid(run_config, nodes, **settings))


def assert_same(whole: Path, other: Path) -> None:
    pandas.testing.assert_frame_equal(metrics(whole), metrics(other), check_exact=True)
    assert files(whole) == files(other)
