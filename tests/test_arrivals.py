"""Nodes that come later, go away, or cannot take part."""

import pytest

from ilora_app import client_app
from ilora_app.federation.waiting import FederationError
from ilora_app.runs.checkpoint import Checkpoints
from ilora_app.server import enrolment, preflight
from ilora_app.server.run import Server
from tests.conftest import read_events
from tests.local_run import FaultyGrid, metrics, run


def test_a_node_that_appears_later_takes_part(run_config):
    folder, _, server = run(
        run_config | {"num-server-rounds": 4}, nodes=3, arrivals={3: 4}
    )
    clients = list(metrics(folder)["clients"].iloc[1:])
    assert clients[0] == 2
    assert clients[-1] == 3
    assert server.membership.ranks == [2, 4, 8]
    assert [e["rank"] for e in read_events(folder, "member")] == [2, 4, 8]


def test_a_late_node_of_a_larger_rank_trains_at_the_largest_of_the_run(run_config):
    _, _, server = run(
        run_config | {"num-server-rounds": 3},
        nodes=3,
        arrivals={3: 3},
        node_configs={2: {"lora-rank": 30}},
    )
    assert server.membership.ranks == [2, 4, 8]


def test_a_node_that_cannot_take_part_is_recorded(run_config):
    folder, _, _ = run(run_config, node_configs={1: {"lora-rank": "x"}})
    (event,) = read_events(folder, "node-left-out")
    assert "lora-rank: expected a whole number" in event["reason"]


class Leaving(FaultyGrid):
    """From the third exchange on, so many of its nodes are there."""

    stay = 0

    def get_node_ids(self):
        nodes = list(super().get_node_ids())
        return nodes[: self.stay] if self.exchanges >= 3 else nodes


def leave(run_config, stay) -> Server:
    run_config |= {"round-timeout": 0.3, "fraction-evaluate": 0.0}
    run_config |= {"num-server-rounds": 4}
    grid = Leaving(client_app.app, run_config, 3)
    grid.stay = stay
    prepared = preflight.prepare(run_config)
    return Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)


def test_rounds_wait_for_nodes_that_went_away(run_config):
    """With too few nodes connected a round waits, and then goes on with those."""
    rows = leave(run_config, stay=1).run()
    assert [row.get("asked") for row in rows] == [None, 3, 3, 1, 1]


def test_a_round_that_nobody_is_there_for_is_none(run_config):
    server = leave(run_config, stay=0)
    with pytest.raises(FederationError, match="round 3: none is connected"):
        server.run()
    assert len(metrics(server.folder.path)) == 3, "the start and two rounds"
    assert Checkpoints(server.folder.path).newest.name.endswith("2")
