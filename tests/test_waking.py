"""Libraries are imported by the first message, and by one that is there for that."""

import os
import subprocess
import sys

import pytest
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import InMemoryGrid

from ilora_app import client_app
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.server.waking import wake


class Simulation(InMemoryGrid):
    """The grid of the simulation engine, whose nodes are there when asked again."""

    def __init__(self, nodes):
        self.nodes, self.asked, self.sent = nodes, 0, []

    def get_node_ids(self):
        self.asked += 1
        return self.nodes if self.asked > 1 else []

    def push_messages(self, messages):
        self.sent += messages
        return []


@pytest.fixture(autouse=True)
def _identity():
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1


def test_flower_loads_both_apps_without_what_training_needs():
    asked = (
        "import sys, ilora_app.client_app, ilora_app.server_app;"
        "print({'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", asked]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_each_process_of_a_simulation_is_woken_and_none_twice():
    grid = Simulation(list(range(1000, 0, -1)))
    wake(grid)
    processes = os.cpu_count()
    woken = [message.metadata.dst_node_id for message in grid.sent]
    assert woken == list(range(1, processes + 1))


def test_a_woken_node_answers_with_nothing():
    grid = Simulation([7])
    wake(grid)
    (asked,) = grid.sent
    answer = client_app.app(asked, Context(1, 7, {}, RecordDict(), {}))
    assert not answer.has_error()
    assert not answer.content
    assert answer.metadata.message_type == asked.metadata.message_type


def test_a_simulation_without_nodes_is_not_waited_for_long():
    grid = Simulation([])
    wake(grid)
    assert grid.asked > 1
    assert not grid.sent


def test_only_the_engine_of_flower_is_woken(monkeypatch):
    asked = []
    monkeypatch.setattr(LocalGrid, "push_messages", lambda *given: asked.append(given))
    wake(LocalGrid(client_app.app, {}, 3))
    assert not asked
