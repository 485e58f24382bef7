"""Secure runs of which not all nodes are part in every round, against plain ones."""

from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import Message, MessageType

from ilora_app import wire
from tests.conftest import read_events
from tests.local_run import metrics, run
from tests.superlink import superlink
from tests.test_secure_run import PLAIN, SECURE, configs, dropping, off
from tests.test_simulation import overrides

pytestmark = pytest.mark.slow

NEVER = 10_000
SAMPLED = {"fraction-train": 0.6, "num-server-rounds": 3}
ALL = {"client-ranks": "8"}  # of any three nodes each holds every direction
EVEN = {"control-weights": "uniform"} | ALL


@pytest.fixture
def config(tiny_config, tmp_path_factory) -> Callable[..., dict[str, Any]]:
    return configs(tiny_config, tmp_path_factory)


class Changing:
    """Nodes that come or go between two rounds: a tamper of ``FaultyGrid``."""

    def __init__(self, changes: dict[int, dict[int, int]], away: int) -> None:
        """``changes`` of arrivals by the answers to evaluations that came before."""
        self.changes, self.seen = changes, 0
        self.arrivals = {away: NEVER}

    def __call__(self, reply: Message) -> Message:
        if reply.metadata.message_type == MessageType.EVALUATE:
            self.seen += 1
            self.arrivals |= self.changes.get(self.seen, {})
        return reply


@pytest.mark.parametrize("way", [PLAIN, EVEN, {"strategy": "fedit"} | ALL])
def test_a_sample_of_nodes_in_every_round(config, way):
    keys = way | SAMPLED
    _, _, plain = run(config(**keys), 6)
    folder, grid, secure = run(config(**keys, **SECURE), 6)
    assert [row["clients"] for row in secure.folder.rows[1:]] == [3, 3, 3]
    assert not read_events(folder, "model-unchanged")
    trained = {
        m.metadata.dst_node_id
        for m in grid.sent
        if m.metadata.message_type == MessageType.TRAIN
    }
    assert len(trained) > 3  # not the same ones in each
    assert off(secure, plain) < 1e-5
    last, other = secure.folder.rows[-1], plain.folder.rows[-1]
    assert last["accuracy"] == other["accuracy"]


@pytest.mark.parametrize("way", [PLAIN, EVEN])
def test_nodes_that_come_late_or_are_away_for_a_round(config, way):
    """Node 5 comes behind round 1, and 2 is away in round 2."""
    servers = []
    for more in ({}, SECURE):
        change = Changing({4: {5: 0, 2: NEVER}, 8: {2: 0}}, away=5)
        keys = config(**way, **{"num-server-rounds": 3}, **more)
        how = {"tamper": change, "arrivals": change.arrivals}
        folder, _, server = run(keys, 5, **how)
        assert [row["clients"] for row in server.folder.rows[1:]] == [4, 4, 5]
        assert not read_events(folder, "model-unchanged")
        assert not read_events(folder, "reply-left-out")
        servers.append(server)
    assert off(servers[1], servers[0]) < 1e-5


def test_a_node_that_does_not_say_who_is_left_is_in_the_sum(config):
    """Node 2 drops out of training; 5 of the other 6 sign, and open it."""
    gone, silent = dropping(2, "train"), dropping(3, wire.SIGNED)
    _, _, plain = run(config(**PLAIN), 7, tamper=gone)
    seen = []

    def tamper(reply: Message) -> Message | None:
        found = gone(reply)
        seen.append(found and silent(found))
        return seen[-1]

    folder, _, secure = run(config(**PLAIN, **SECURE), 7, tamper=tamper)
    assert seen.count(None) >= 4  # of both, in both rounds
    assert not read_events(folder, "model-unchanged")
    assert [row["clients"] for row in secure.folder.rows[1:]] == [6, 6]
    assert off(secure, plain) < 1e-5


@pytest.mark.long
def test_in_the_engine_of_flower_it_is_the_plain_run(config, tmp_path):
    """Each message in whichever of two actors: the session is in the node's state."""
    keys = {"num-server-rounds": 2, "fraction-train": 0.8} | PLAIN
    federation = "num-supernodes=5 client-resources-num-cpus=1 init-args-num-cpus=2"
    _, _, plain = run(config(**keys), 5)
    _, _, local = run(config(**keys, **SECURE), 5)
    with superlink(tmp_path / "flower") as link:
        wanted = overrides(config(**keys, **SECURE), tmp_path / "run")
        log = link.run(wanted, federation, timeout=300)
        assert link.statuses()[0] == "finished:completed", log
    assert not read_events(tmp_path / "run", "model-unchanged")
    table = metrics(tmp_path / "run")
    assert list(table["clients"][1:]) == [4, 4]
    assert list(table["accuracy"]) == [r["accuracy"] for r in plain.folder.rows]
    assert list(table["loss"]) == [r["loss"] for r in local.folder.rows]
    assert off(local, plain) < 1e-5
