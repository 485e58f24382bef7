"""A ridge head through the whole app: solved, frozen, and solved again."""

import json

import pandas
import pytest
import torch
from flwr.app import Message

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.ridge import square, triangle
from ilora_app.methods import METHODS
from ilora_app.node.node import Node
from ilora_app.server import preflight
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks import features
from ilora_app.tasks.task import TASKS
from tests import tiny_models
from tests.conftest import read_events
from tests.interruptions import assert_same, interrupted, resumed
from tests.local_run import metrics, run
from tests.packets import opened
from tests.test_architectures import job
from tests.test_faults import BAD

pytestmark = pytest.mark.slow

HEADED = [name for name in METHODS if name != "fedavg-full"]


def test_a_node_cannot_write_the_head(solved, tmp_path):
    """Features a thousand times as long would be all that is seen of the others'."""

    def lie(reply: Message) -> Message:
        if reply.metadata.src_node_id == BAD and wire.HEAD_SUMS in reply.content:
            held = wire.decode_tensors(reply.content[wire.HEAD_SUMS])
            size = len(held[wire.CROSS])
            M = 1e6 * square(held[wire.GRAM], size)
            M[-1] /= 1e3
            M[:, -1] /= 1e3
            held[wire.GRAM] = triangle(M)
            held[wire.CROSS] = held[wire.CROSS].flip(1)
            held[wire.CROSS][:-1] *= 1e3
            record = wire.encode_tensors(held, torch.float64)
            reply.content[wire.HEAD_SUMS] = record
        return reply

    folder, _, _ = run(solved, nodes=5, tamper=lie)
    events = read_events(folder, "reply-left-out")
    assert {event["node"] for event in events} == {BAD}
    assert {event["purpose"] for event in events} == {"head"}
    assert all("its features have length" in event["reason"] for event in events)
    assert list(metrics(folder)["clients"][1:]) == [5] * (len(metrics(folder)) - 1)


@pytest.fixture
def solved(run_config):
    return run_config | {"head": "ridge", "drift-correction": "none"}


@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_it_is_the_ridge_of_the_pooled_data(kind, tmp_path, small_data):
    """On every architecture, with the last token of those that read to the right."""
    (tmp_path / "model").mkdir()
    named = tiny_models.make(kind, tmp_path / "model")
    if kind in ("gpt2", "llama"):
        texts = {"task": "text-classification", "dataset": small_data}
        named = {"model": named["model"], "max-length": named["max-length"], **texts}
    once = {"strategy": "fedit", "head": "ridge", "head-refit-every": 0}
    _, grid, server = run(job(named, tmp_path) | once)
    backbone, head = server.prepared.backbone, server.strategy.state.adapter.head
    layer = features.output_layer(backbone)
    start = AdapterState(LoraFactors({}), backbone.initial_head())
    backbone.install(start)
    parts = [Node.of(c).data.examples()[0] for c in grid._contexts.values()]
    pooled = TASKS[server.prepared.settings.model.task].join(parts)
    W = features.ridge_sums(backbone, pooled, 16).solve(0.001, 0.1, layer.bias).float()
    found = head[f"{layer.name}.weight"]
    torch.testing.assert_close(found, W[: layer.features].T, atol=2e-3, rtol=2e-3)
    if layer.bias:
        found = head[f"{layer.name}.bias"]
        torch.testing.assert_close(found, W[-1], atol=2e-3, rtol=2e-3)
    # The features are what the last layer sees: they and W are the model's logits.
    backbone.install(AdapterState(LoraFactors({}), head))
    batch = pooled.batch(list(range(8)))
    batch.pop("labels")
    module = dict(backbone.head_modules())[layer.name]
    with torch.inference_mode(), features._as_identity(module):
        phi = backbone.forward(batch).logits
    with torch.inference_mode():
        logits = backbone.forward(batch).logits
        torch.testing.assert_close(logits, module(phi), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", HEADED)
def test_a_frozen_head_is_sent_once_and_never_returned(solved, name):
    folder, grid, server = run(solved | {"strategy": name, "local-steps": 1})
    assert not read_events(folder, "reply-left-out")
    table = metrics(folder)
    head = {f"head.{n}" for n in server.strategy.state.adapter.head}
    sent = [
        set(opened(m.content.array_records[wire.ARRAYS]))
        for m in grid.sent
        if m.metadata.message_type == "train"
    ]
    clients = 1 if name == "centralized" else 3
    assert all(head <= names for names in sent[:clients])
    assert all(not names & head for names in sent[clients:])
    assert table["bytes_up_head"][0] > 0
    assert table["head_examples"][0] > 0
    if name not in ("local", "fedsa-lora"):
        assert table["accuracy"][0] > 0.15  # of ten classes, on untrained features


def test_a_head_at_a_lower_rate_moves_less(run_config, tmp_path):
    heads = {}
    for rate in ("0", "0.1", "1"):
        place = {"output-dir": str(tmp_path / rate), "head-rate": rate}
        settings = {"strategy": "fedit", "head": "ridge", "num-server-rounds": 1}
        _, _, server = run(run_config | settings | place)
        heads[rate] = server.strategy.state.adapter.head["classifier.weight"]
    slow = float((heads["0.1"] - heads["0"]).norm())
    fast = float((heads["1"] - heads["0"]).norm())
    assert 0.02 * fast < slow < 0.5 * fast


def test_it_is_solved_again_with_a_late_and_without_a_lost_client(solved):
    def tamper(reply):
        node = reply.metadata.src_node_id
        sums = reply.has_content() and wire.HEAD_SUMS in reply.content
        if sums and node == 2 and lost:
            lost.pop()
            return None
        return reply

    lost = [True]
    settings = {"head-refit-every": 1, "num-server-rounds": 3}
    folder, _, _ = run(solved | settings, arrivals={3: 3}, tamper=tamper)
    table = metrics(folder)
    (left_out,) = read_events(folder, "reply-left-out")
    assert (left_out["purpose"], left_out["node"]) == ("head", 2)
    found = table["head_examples"].tolist()
    members = {e["node_id"]: e["examples"] for e in read_events(folder, "member")}
    assert found[0] == members[1]
    assert found[-1] == sum(members.values())


@pytest.mark.parametrize("strategy", ["ilora", "flora"])
def test_a_resumed_run_ends_as_a_whole_one(solved, tmp_path, strategy):
    solved |= {
        "strategy": strategy, "head-refit-every": 2, "num-server-rounds": 4,
    }  # fmt: skip
    whole, _, _ = run(solved)
    solved["output-dir"] = str(tmp_path / "again")
    other = interrupted(solved, fails_in=3)
    resumed(solved)
    assert_same(whole, other)
    table = pandas.read_csv(whole / "metrics.csv")
    due = table["bytes_up_head"].notna()
    assert list(table["round"][due]) == [0, 2, 4]
    assert list(table["round"][table["seconds_head"].notna()]) == [0, 2, 4]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "fedavg-full"}, "trains every weight and has no head apart"),
        (
            {"drift-correction": "control-variates", "control-scope": "head"},
            "a frozen head is not corrected",
        ),
        ({"head": "trained", "head-refit-every": 3}, "is not used, as head is not"),
        ({"head-rate": "-1"}, "auto, or a number from 0 on"),
    ],
)
def test_what_makes_no_sense_is_refused(solved, changes, said):
    with pytest.raises(ConfigError, match=said):
        preflight.prepare(solved | changes)


def test_what_is_no_better_than_the_probe_is_said_and_the_probe_is_kept(solved, caplog):
    """Training that ruins the model: a rate far too high."""
    solved |= {"learning-rate": 3.0, "optimizer": "sgd", "num-server-rounds": 2}
    with caplog.at_level("WARNING", logger="flwr"):
        folder, _, _ = run(solved)
    best = json.loads((folder / "best" / "best.json").read_text())
    assert best["round"] == 0
    assert best["value"] == metrics(folder)["accuracy"][0]
    assert (folder / "best" / "adapter" / "adapter_model.safetensors").exists()
    assert "no round is better than the linear probe" in caplog.text


def test_a_run_says_what_it_has_to_beat(solved, caplog):
    with caplog.at_level("INFO", logger="flwr"):
        folder, _, server = run(solved | {"report": True})
    (event,) = read_events(folder, "baselines")
    labels = torch.cat([b["labels"] for b in server.prepared.test.batches(64)])
    share = float(torch.bincount(labels).max()) / len(labels)
    assert event["majority_class"] == pytest.approx(share, abs=1e-3)
    table = metrics(folder)["accuracy"]
    assert f"Linear probe (round 0) {table[0]:.4f}, this run" in caplog.text
    page = (folder / "report.html").read_text()
    assert "linear probe, round 0" in page
    assert "guessing the commonest class" in page


def test_a_linear_probe_is_the_ridge_head_and_stays_it(run_config):
    run_config |= {"strategy": "linear-probe", "num-server-rounds": 2}
    folder, grid, server = run(run_config)
    table = metrics(folder)
    assert table["accuracy"].nunique() == 1
    assert list(table["drift"].dropna()) == [0.0, 0.0]
    solved = run_config | {"strategy": "fedit", "head": "ridge"}
    solved["output-dir"] += "-fedit"
    assert metrics(run(solved)[0])["accuracy"][0] == table["accuracy"][0]
    trained = [m for m in grid.sent if m.metadata.message_type == "train"]
    arrays = [set(opened(m.content.array_records[wire.ARRAYS])) for m in trained]
    head = {f"head.{n}" for n in server.strategy.state.adapter.head}
    assert arrays == [head] * 3 + [set()] * 3
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
