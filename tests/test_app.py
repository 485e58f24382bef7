"""The whole app in one process: what it records, sends, and leaves behind."""

import json
import tomllib
from pathlib import Path

import pandas
import pytest
import torch
from flwr.app import MessageType
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ilora_app import wire
from ilora_app.methods.state import Share
from tests.conftest import read_events
from tests.local_run import FaultyGrid, metrics, run
from tests.packets import opened


def test_a_run_records_and_leaves_what_it_promises(run_config):
    run_config["rank-eval-every"] = 1
    folder, _, _ = run(run_config)
    table = metrics(folder, times=True)
    assert list(table.columns[:3]) == ["round", "accuracy", "loss"]
    assert list(table["round"]) == [0, 1, 2]
    for column in (
        "accuracy_r2", "loss_r8", "energy_kept_r2", "energy_kept_r8", "drift",
        "drift_head", "bytes_up", "bytes_down", "seconds_train", "seconds_aggregate",
        "seconds_evaluate", "client_accuracy_mean", "client_accuracy_worst",
        "client_accuracy_spread", "train_loss",
    ):  # fmt: skip
        assert table[column][1:].notna().all(), column
    assert (table["drift"][1:] > 0).all()
    written = tomllib.loads((folder / "config.toml").read_text())
    resolved = {
        "aggregate": "increments",
        "residual": "send",
        "initialisation": "standard",
        "partitioner": "dirichlet",
        "drift-correction": "control-variates",
        "target-modules": "query,value",
        "modules-to-save": "classifier,pooler",
        "text-columns": "text",
        "label-column": "domain",
        "partition-by": "domain",
        "image-column": "",
        "audio-column": "",
        "answer-column": "",
    }
    assert written == run_config | resolved
    assert [e["round"] for e in read_events(folder, "round")] == [0, 1, 2]
    assert [e["rank"] for e in read_events(folder, "member")] == [2, 4, 8]
    for name in ("adapter", "adapter-r2", "adapter-r4", "adapter-r8"):
        for file in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
            assert (folder / name / file).is_file()
        assert AutoTokenizer.from_pretrained(folder / name)("hello")["input_ids"]


@pytest.mark.parametrize("correction", ["control-variates", "none"])
@pytest.mark.parametrize("cut", ["update", "product"])
def test_each_node_gets_factors_of_its_rank_and_nothing_more(
    run_config, correction, cut
):
    """Numbers sent: sum over layers of r_k (d_in + d_out), and the head.

    From round 2 on r_max in the place of r_k where the update is cut; where the product
    is, r_k r_max more a layer say what the base gives up.
    """
    run_config |= {"drift-correction": correction, "cut": cut}
    _, grid, server = run(run_config)
    shapes = list(server.prepared.backbone.shapes().values())
    head = sum(v.numel() for v in server.prepared.backbone.initial_head().values())
    ranks = {m.node_id: m.rank for m in server.membership.members}
    trains = [m for m in grid.sent if m.metadata.message_type == MessageType.TRAIN]
    assert len(trains) == 6
    for message in trains:
        rank = ranks[message.metadata.dst_node_id]
        trained = rank * sum(d_out + d_in for d_out, d_in in shapes) + head
        records = message.content.array_records
        numbers = {
            name: sum(array.size for array in opened(record).values())
            for name, record in records.items()
        }
        later = message.content.config_records[wire.CONFIG][wire.ROUND] > 1
        more = later * rank * 8 * len(shapes)
        if cut == "update":
            more = later * (8 - rank) * sum(d_out + d_in for d_out, d_in in shapes)
        expected = {wire.ARRAYS: trained + more}
        if correction != "none":
            expected[wire.CORRECTION] = trained
        assert numbers == expected


@pytest.fixture(scope="module")
def first(tiny_config, tmp_path_factory) -> tuple[Path, FaultyGrid]:
    """A run without any changes, to which nothing is done."""
    folder = tmp_path_factory.mktemp("first") / "run"
    return run(tiny_config | {"output-dir": str(folder)})[:2]


def test_bytes_in_the_table_are_those_of_the_messages(first):
    folder, grid = first
    by_type = {
        kind: [
            wire.content_bytes(m.content)
            for m in grid.sent
            if m.metadata.message_type == kind
        ]
        for kind in (MessageType.TRAIN, MessageType.EVALUATE)
    }
    table = metrics(folder)
    assert table["bytes_down"].sum() == sum(by_type[MessageType.TRAIN])
    assert table["bytes_down_evaluate"].sum() == sum(by_type[MessageType.EVALUATE])


@pytest.mark.parametrize("gain", ["paper", "scaled"])
def test_the_adapter_on_the_untouched_base_is_the_model_that_was_evaluated(
    run_config, gain
):
    run_config |= {"initialisation": "qr", "init-gain": gain}
    folder, _, server = run(run_config)
    base_folder = run_config["model"]
    strategy, prepared = server.strategy, server.prepared
    evaluated = metrics(folder).iloc[-1]
    for name, rank in (("adapter", None), ("adapter-r2", 2), ("adapter-r4", 4)):
        torch.manual_seed(99)  # the new head of the base must not matter
        base = AutoModelForSequenceClassification.from_pretrained(
            base_folder, num_labels=10
        )
        loaded = PeftModel.from_pretrained(base, folder / name).eval()
        models = [Share(strategy.global_model(rank))]
        if rank:  # what a client would train from, over its changed base
            models.append(strategy.method.share(strategy.state, rank))
        batch = prepared.test.batch(list(range(len(prepared.test))))
        with torch.inference_mode():
            there = loaded(**batch)
            for model in models:
                offset = model.offset(prepared.backbone.directions)
                prepared.backbone.install(model.adapter, offset)
                prepared.backbone.model.eval()
                here = prepared.backbone.model(**batch).logits
                torch.testing.assert_close(there.logits, here, atol=1e-4, rtol=0)
        assert there.logits.std() > 0
        column = f"loss_r{rank}" if rank else "loss"
        assert float(there.loss) == pytest.approx(evaluated[column], abs=1e-4)
    card = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert card["base_model_name_or_path"] == base_folder
    assert card["lora_alpha"] == card["r"] * run_config["lora-scaling"]


def test_the_same_seed_gives_the_same_numbers_in_any_order(run_config, first):
    again, _, _ = run(run_config, reverse=True)
    tables = metrics(first[0]), metrics(again)
    pandas.testing.assert_frame_equal(*tables, check_exact=True)
    adapters = [
        load_file(folder / "adapter" / "adapter_model.safetensors")
        for folder in (first[0], again)
    ]
    assert all(torch.equal(adapters[0][k], adapters[1][k]) for k in adapters[0])


def test_another_seed_gives_other_numbers(run_config, first):
    other = metrics(run(run_config | {"seed": 1})[0])
    assert metrics(first[0])["loss"].iloc[-1] != other["loss"].iloc[-1]


# Nothing but what the server measures is looked at.
SWITCHED = {"num-server-rounds": 3, "fraction-evaluate": 0.0, "save-adapters": False}


@pytest.fixture(scope="module")
def plain(tiny_config, tmp_path_factory) -> pandas.DataFrame:
    """metrics.csv of three rounds without any switch."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    return metrics(run(tiny_config | SWITCHED | {"output-dir": str(folder)})[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"decomposition": "qr"},
        {"initialisation": "qr"},
        {"initialisation": "qr", "init-gain": "scaled"},
        {"decomposition": "pivoted-qr"},
        {"residual": "drop"},
        {"aggregate": "products"},
        {"cut": "product"},
        {"drift-correction": "none"},
        {"control-estimator": "full-pass"},
        {"control-normalisation": "all"},
        {"control-basis": "rotate"},
        {"control-scope": "head"},
        {"control-scope": "factors"},
        {"optimizer": "sgd", "learning-rate": 0.01},
        {"local-steps": 0, "local-epochs": 1},
        {"holdout-fraction": 0.0},
        {"lora-dropout": 0.3},
        {"weight-decay": 0.1},
        {"lora-scaling": 1.0},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_every_switch_learns_and_makes_a_difference(run_config, plain, changes):
    table = metrics(run(run_config | SWITCHED | changes)[0])
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]
    assert table["loss"].iloc[-1] != plain["loss"].iloc[-1]


def test_a_node_names_its_own_rank(run_config):
    _, _, server = run(run_config, node_configs={1: {"lora-rank": 6}})
    assert server.membership.ranks == [2, 6, 8]


def test_sampling_asks_a_part_of_the_nodes(run_config):
    run_config |= {"fraction-train": 0.5, "num-server-rounds": 4}
    folder, grid, _ = run(run_config, nodes=4)
    assert (metrics(folder)["asked"].iloc[1:] == 2).all()
    asked = [
        m.metadata.dst_node_id
        for m in grid.sent
        if m.metadata.message_type == MessageType.TRAIN
    ]
    assert len(set(asked)) > 2
