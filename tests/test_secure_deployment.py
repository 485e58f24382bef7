"""Secure aggregation over real processes: TLS, registered keys, and their roster."""

from pathlib import Path

import pytest

from tests.deployment import deployment
from tests.hospitals import RANKS, deal_out
from tests.local_run import metrics

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_three_registered_nodes_of_unequal_rank_send_sums(
    tmp_path, tiny_model, small_data
):
    data = tmp_path / "data"
    deal_out(Path(small_data) / "train.jsonl", data)
    with deployment(tmp_path, nodes=3) as real:
        public = [(real.keys / f"node-{i}.pub").read_text() for i in (1, 2, 3)]
        (tmp_path / "roster").write_text("".join(public))
        for i in (1, 2, 3):
            own = {
                "data-path": str(data / f"node-{i}"),
                "lora-rank": RANKS[i],
                "secure-key": str(real.keys / f"node-{i}"),
                "secure-roster": str(tmp_path / "roster"),
                "secure-aggregation": True,
            }
            real.start_node(i, own)
        real.wait_online(3)
        config = {"model": tiny_model, "dataset": small_data, "local-steps": 3}
        config |= {"label-column": "domain", "head": "trained", "report": False}
        config |= {"min-available-nodes": 3, "num-server-rounds": 1}
        secure = {"secure-aggregation": True, "decomposition": "qr"}
        run = real.run(config | secure)
        assert run.wait() == "finished:completed", run.context()
        assert not run.events("model-unchanged"), run.context()
        assert {event["examples"] for event in run.events("member")} == {1}
        table = metrics(run.folder)
        assert list(table["clients"][1:]) == [3]
        assert table["client_accuracy_mean"][1:].notna().all()
        assert table["messages_secure"][1:].gt(0).all()
