"""Nodes that come later, go away, or cannot take part."""

from ilora_app import client_app
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


def test_rounds_wait_for_nodes_that_went_away(run_config):
    """With too few nodes connected a round waits, and then goes on with those."""

    class Leaving(FaultyGrid):
        def get_node_ids(self):
            return [] if self.exchanges in (3, 4) else super().get_node_ids()

        def send_and_receive(self, messages, *, timeout=None):
            self.asked = list(messages)
            return super().send_and_receive(self.asked, timeout=timeout)

    run_config |= {"round-timeout": 0.3}
    grid = Leaving(client_app.app, run_config, 3)
    prepared = preflight.prepare(run_config)
    server = Server(prepared, enrolment.meet(grid, prepared), grid, run_id=1)
    rows = server.run()
    assert [row.get("asked") for row in rows] == [None, 3, 0]
    assert rows[2]["loss"] == rows[1]["loss"]
