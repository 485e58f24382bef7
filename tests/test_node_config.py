"""What a node may be configured with; the server hears what is wrong."""

import pytest

from ilora_app.node import config
from tests.conftest import read_events
from tests.local_run import run

RIGHT = {"partition-id": 0, "num-partitions": 2, "lora-rank": 4}


@pytest.mark.parametrize(
    "more",
    [
        {}, {"lora-rank": "auto"}, {"lora-rank": "8"}, {"data-path": "/data"},
        {"state-path": "~/state"},
    ],
)  # fmt: skip
def test_right_ones(more):
    assert config.problems(RIGHT | more) == []


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"lora-rnk": 4}, "lora-rnk = 4: there is no such key; did you mean lora-rank"),
        ({"x": 1}, "x = 1: there is no such key; the keys are partition-id"),
        ({"lora-rank": "8x"}, "lora-rank = '8x': expected a whole number above 0, or"),
        ({"lora-rank": "0"}, "lora-rank = '0': expected a whole number above 0, or"),
        ({"lora-rank": True}, "lora-rank = true: expected a whole number"),
        ({"lora-rank": 0}, "lora-rank = 0: expected a whole number above 0"),
        ({"partition-id": "0"}, "partition-id = '0': expected a whole number"),
        ({"data-path": 3}, "data-path = 3: expected a folder"),
        ({"state-path": ""}, "state-path = '': expected an absolute folder"),
    ],
)
def test_wrong_ones(more, problem):
    ((found, told),) = config.problems(RIGHT | more)
    assert found.startswith(f"--node-config {problem}")
    assert told.startswith("--node-config ")
    assert " = " not in told


def test_a_rank_in_quotes_is_that_rank(run_config):
    _, _, server = run(run_config, node_configs={1: {"lora-rank": "4"}})
    assert server.membership.ranks == [2, 4, 8]


def test_the_server_hears_all_that_is_wrong(run_config):
    configs = {1: {"lora-rnk": 4, "lora-rank": "x"}}
    folder, _, server = run(run_config, node_configs=configs)
    (event,) = read_events(folder, "node-left-out")
    assert "did you mean lora-rank?" in event["reason"]
    assert "lora-rank: expected a whole number above 0" in event["reason"]
    assert "rnk" not in event["reason"], "what was written stays on the node"
    assert server.membership.ranks == [2, 8]
