"""Secure aggregation over real processes: TLS, registered keys, and their roster."""

from pathlib import Path

import pandas
import pytest

from tests.deployment import deployment
from tests.hospitals import RANKS, deal_out
from tests.local_run import metrics, run

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_three_registered_nodes_of_unequal_rank_send_sums(
    tmp_path, tiny_model, small_data, tiny_config
):
    """Two rounds with control variates: the numbers are those of one process."""
    data = tmp_path / "data"
    deal_out(Path(small_data) / "train.jsonl", data)
    owned = {
        i: {"data-path": str(data / f"node-{i}"), "lora-rank": RANKS[i]}
        for i in (1, 2, 3)
    }
    config = {"model": tiny_model, "dataset": small_data, "local-steps": 3}
    config |= {"label-column": "domain", "head": "trained", "report": False}
    config |= {"min-available-nodes": 3, "num-server-rounds": 2}
    config |= {"secure-aggregation": True, "decomposition": "qr"}
    config |= {"drift-correction": "control-variates", "optimizer": "sgd"}
    config |= {"learning-rate": 0.5}
    with deployment(tmp_path, nodes=3) as real:
        public = [(real.keys / f"node-{i}.pub").read_text() for i in (1, 2, 3)]
        (tmp_path / "roster").write_text("".join(public))
        for i, own in owned.items():
            secure = {
                "secure-key": str(real.keys / f"node-{i}"),
                "secure-roster": str(tmp_path / "roster"),
                "secure-aggregation": True,
            }
            real.start_node(i, own | secure)
        real.wait_online(3)
        job = real.run(config)
        assert job.wait() == "finished:completed", job.context()
        assert not job.events("model-unchanged"), job.context()
        assert not job.events("reply-left-out"), job.context()
        assert {event["examples"] for event in job.events("member")} == {1}
        table = metrics(job.folder)
        assert list(table["clients"][1:]) == [3, 3]
        assert list(table["messages_secure"][1:]) == [15, 18]
        assert not (job.folder / "parts").exists()  # control variates by node
    here = tiny_config | config | {"output-dir": str(tmp_path / "local")}
    one = {i - 1: own for i, own in owned.items()}
    expected = metrics(run(here, 3, node_configs=one)[0])
    for name in ("loss", "accuracy", "train_loss", "client_loss_mean"):
        pandas.testing.assert_series_equal(table[name], expected[name])
