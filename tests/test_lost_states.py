"""Nodes that come back with less than they had, or before they are missed."""

from pathlib import Path

import pytest
import torch

from ilora_app import client_app, wire
from ilora_app.methods.hetlora import tail_of
from ilora_app.runs import store
from tests.conftest import read_events
from tests.controlled import control_of
from tests.interruptions import fresh_grid, interrupted, resumed, start
from tests.local_run import FaultyGrid, metrics, run

pytestmark = pytest.mark.slow


class Restarting(FaultyGrid):
    """After one exchange node 2 is another process: under ``node``, or its own id."""

    def __init__(self, run_config, after: tuple[str, int], node: int = 2) -> None:
        super().__init__(client_app.app, run_config, 3)
        self.run_config, self.after, self.node = run_config, after, node

    def send_and_receive(self, messages, *, timeout=None):
        messages = list(messages)
        replies = super().send_and_receive(messages, timeout=timeout)
        asked = messages[0].content.config_records["config"]
        if (messages[0].metadata.message_type, asked.get(wire.ROUND)) == self.after:
            fresh = fresh_grid(self.run_config)._contexts[998]
            del self._contexts[2]
            fresh.node_id = self.node
            self._contexts[self.node] = fresh
        return replies


def test_c_is_the_sum_of_what_clients_hold_after_one_has_lost_its_own(run_config):
    """Under the same node id nobody asks it who it is: it says so itself."""
    run_config |= {"num-server-rounds": 5, "keep-checkpoints": 0}
    run_config |= {"control-normalisation": "all", "control-weights": "uniform"}
    run_config |= {"test-examples": 40}
    grid = Restarting(run_config, ("train", 3))
    server = start(run_config, grid)
    total = {n: 3 * value for n, value in control_of(server.strategy).items()}
    for context in grid._contexts.values():
        pending = context.state.array_records["control-variate-pending"]
        for name, value in wire.decode_tensors(pending).items():
            total[name][tuple(slice(0, n) for n in value.shape)] -= value
    assert all(value.abs().max() < 1e-6 for value in total.values())
    assert not read_events(server.folder.path, "reply-left-out")


def test_a_node_that_is_back_before_it_is_missed_waits(run_config, caplog):
    """Flower counts a node as connected for a minute after it has died."""

    class Ghost(Restarting):
        def get_node_ids(self):
            there = list(super().get_node_ids())
            return [*there, 2] if 998 in there and self.exchanges < 7 else there

        def send_and_receive(self, messages, *, timeout=None):
            known = [m for m in messages if m.metadata.dst_node_id in self._contexts]
            return super().send_and_receive(known, timeout=timeout)

    run_config |= {"num-server-rounds": 5, "test-examples": 40, "round-timeout": 1.0}
    server = start(run_config, Ghost(run_config, ("evaluate", 2), 998))
    assert server.membership.ranks == [2, 4, 8]
    assert [m.node_id for m in server.membership.members] == [1, 998, 3]
    assert "waits until node 2 is gone: both are partition-1-of-3" in caplog.text
    clients = list(metrics(server.folder.path)["clients"].iloc[1:])
    assert (clients[2], clients[-1]) == (2, 3)


def test_a_factor_of_an_earlier_state_is_not_trained_on(run_config, monkeypatch):
    """The disk of a node was full: the server counts on more than it has kept."""
    run_config |= {"strategy": "rolora", "num-server-rounds": 5, "test-examples": 40}
    write = store.write

    def full(folder: Path, *rest: object) -> None:
        if "partition-1" in str(folder) and folder.name != "round-1":
            raise OSError("no space left")
        write(folder, *rest)

    monkeypatch.setattr(store, "write", full)
    interrupted(run_config, fails_in=4)
    monkeypatch.setattr(store, "write", write)
    server = resumed(run_config)
    (event,) = read_events(server.folder.path, "reply-left-out")
    assert "the server counts on what this client held at time" in event["reason"]
    assert list(metrics(server.folder.path)["clients"].iloc[-2:]) == [2, 3]


def test_a_personal_model_is_measured_whole_after_a_restart(run_config, tmp_path):
    run_config |= {"strategy": "fedsa-lora", "learning-rate": 0.05}
    whole, _, _ = run(run_config)
    again = run_config | {"output-dir": str(tmp_path / "again")}
    server = start(again, Restarting(again, ("train", 2)))

    def losses(folder: Path) -> list[float]:
        clients = read_events(folder, "clients-evaluated")[-1]["clients"]
        return [client["test_loss"] for client in clients]

    assert losses(server.folder.path) == losses(whole)


def test_a_smaller_rank_cuts_what_was_kept(run_config):
    """Not one column of it eight times over, as assigning would broadcast it."""

    class Smaller(Restarting):
        def send_and_receive(self, messages, *, timeout=None):
            replies = super().send_and_receive(messages, timeout=timeout)
            if 998 in self._contexts:
                self._contexts[998].node_config["lora-rank"] = 1
            return replies

    run_config |= {"strategy": "ffa-lora", "num-server-rounds": 4, "test-examples": 40}
    server = start(run_config, Smaller(run_config, ("evaluate", 2), 998))
    assert [m.rank for m in server.membership.members] == [2, 1, 8]
    assert not read_events(server.folder.path, "reply-left-out")
    kept = server.strategy.state.adapter.factors
    assert all(torch.isfinite(B).all() for _, (B, _) in kept.items())


def test_hetlora_prunes_nothing_where_gamma_is_one():
    assert [tail_of(rank, 1.0) for rank in (1, 2, 8)] == [1, 2, 8]
    assert [tail_of(rank, 0.99) for rank in (1, 2, 8)] == [1, 1, 7]
