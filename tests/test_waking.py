"""Libraries are imported by the first message, and by one that is there for that."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import InMemoryGrid

from ilora_app import client_app
from ilora_app.federation.waiting import FederationError
from ilora_app.launch.local_grid import LocalGrid
from ilora_app.server import enrolment, main
from ilora_app.server.waking import settle, wake


@dataclass
class Answers:
    """What a reply says of itself."""

    reply_to_message_id: str


class Simulation(InMemoryGrid):
    """The grid of the simulation engine, whose nodes are there when asked again."""

    def __init__(self, nodes):
        self.nodes, self.asked, self.sent = nodes, 0, []
        self.slowest = 0  # how often its reply is asked for in vain

    def get_node_ids(self):
        self.asked += 1
        return self.nodes if self.asked > 1 else []

    def push_messages(self, messages):
        self.sent += messages
        return [str(message.metadata.dst_node_id) for message in self.sent]

    def pull_messages(self, message_ids):
        """Those of all but the last at once, and that one's later."""
        self.slowest -= 1
        late = [str(self.nodes[-1])] if self.slowest >= 0 else []
        found = [name for name in message_ids if name not in late]
        return [SimpleNamespace(metadata=Answers(name)) for name in found]


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


def test_a_node_has_no_other_message_before_it_has_answered(monkeypatch, run_config):
    """The slower of two would undo what the other has kept in the node's state."""
    grid = Simulation([1, 2])
    wake(grid)
    grid.slowest = 3
    met = []

    def meet(grid, prepared):
        met.append(grid.slowest)
        raise FederationError("far enough")

    monkeypatch.setattr(enrolment, "meet", meet)
    with pytest.raises(FederationError, match="far enough"):
        main.run(grid, Context(1, 0, {}, RecordDict(), run_config), ["1", "2"])
    assert met == [-1]


def test_a_node_that_does_not_answer_is_not_waited_for_for_ever():
    grid = Simulation([1, 2])
    grid.slowest = 10**9
    began = time.monotonic()
    settle(grid, ["1", "2"], timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 10


def test_where_nobody_is_woken_nobody_is_waited_for():
    grid = Simulation([1])
    settle(grid, [], timeout=60)
    assert grid.slowest == 0  # was not asked


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
