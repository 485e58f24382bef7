"""The rank that a node's memory affords, with numbers worked out by hand."""

from types import SimpleNamespace

import pytest
import torch

from ilora_app.node import auto_rank
from ilora_app.node.auto_rank import Load
from ilora_app.settings import parsing
from tests.conftest import read_events
from tests.local_run import run

# BERT-base: query and value of 12 layers, a head of 1000 weights, 8 texts of 64 tokens.
LOAD = Load(
    shapes=((768, 768),) * 24, head=1000, layers=12, hidden=768, heads=12, tokens=64,
    batch=8,
)  # fmt: skip
ACTIVATIONS = 8 * 12 * 64 * (68 * 768 + 10 * 12 * 64)  # 368 050 176
DENSE = 12 * 24 * 768 * 768  # 169 869 312
A_RANK = 36 * 24 * (768 + 768)  # 1 327 104


def test_the_rule_in_numbers():
    assert auto_rank.activations(LOAD) == ACTIVATIONS == 368_050_176
    assert auto_rank.needed(LOAD, 0) == ACTIVATIONS + DENSE + 36_000
    assert auto_rank.needed(LOAD, 8) - auto_rank.needed(LOAD, 0) == 8 * A_RANK


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_just_enough_is_enough(rank):
    enough = -(-auto_rank.needed(LOAD, rank) * 5 // 4)
    assert auto_rank.largest_rank(LOAD, enough, 64) == rank
    assert auto_rank.largest_rank(LOAD, enough - 10, 64) == rank - 1


def test_the_largest_rank_of_the_run_is_enough():
    assert auto_rank.largest_rank(LOAD, 10**12, 16) == 16
    assert auto_rank.largest_rank(LOAD, 10**6, 16) == 0


def test_half_the_width_is_half_the_activations_and_checkpointing_far_less():
    half = Load(**(vars(LOAD) | {"width": 2}))
    assert auto_rank.activations(half) == ACTIVATIONS // 2
    again = Load(**(vars(LOAD) | {"checkpointing": True}))
    one = 8 * 64 * (68 * 768 + 10 * 12 * 64)
    assert auto_rank.activations(again) == one + 8 * 4 * 64 * 768 * 12


def test_the_logits_of_a_language_model_count():
    speaking = Load(**(vars(LOAD) | {"vocabulary": 50_000}))
    more = auto_rank.activations(speaking) - ACTIVATIONS
    assert more == 8 * 64 * 50_000 * 12


def test_images_count_by_their_patches():
    model = SimpleNamespace(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, image_size=224,
        patch_size=16,
    )  # fmt: skip
    settings = parsing.load({"batch-size": 10, "gradient-accumulation": 4})
    load = auto_rank.load_of(model, {"query": (192, 192)}, 5, settings)
    assert (load.tokens, load.batch, load.layers) == (14 * 14 + 1, 3, 12)
    smaller = parsing.load({"image-size": 64})
    assert auto_rank.load_of(model, {"query": (192, 192)}, 5, smaller).tokens == 17


def group(root, path, **files):
    """A control group of a machine that is made up."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def test_a_container_has_what_its_limit_leaves(tmp_path):
    assert auto_rank._left_in_group(tmp_path) is None
    group(tmp_path, "", max="max", current=300)
    assert auto_rank._left_in_group(tmp_path) is None
    group(tmp_path, "", max=1000)
    assert auto_rank._left_in_group(tmp_path) == 700
    group(tmp_path, "", max=200)
    assert auto_rank._left_in_group(tmp_path) == 0
    assert 0 < auto_rank.free_memory(torch.device("cpu")) < 2**50


def test_a_unit_has_what_the_limits_of_its_group_and_of_those_above_leave(tmp_path):
    unit = "system.slice/system-ilora.slice/ilora-supernode@2.service"
    (tmp_path / "proc/self").mkdir(parents=True)
    # Version 1 and 2 side by side, as some machines have them.
    words = f"4:memory:/elsewhere\n0::/{unit}\n"
    (tmp_path / "proc/self/cgroup").write_text(words)
    group(tmp_path, "elsewhere", max=10, high=10, current=10)
    group(tmp_path, "", current=9000)
    assert auto_rank._left_in_group(tmp_path) is None
    group(tmp_path, unit, max=2000, high="max", current=300)
    assert auto_rank._left_in_group(tmp_path) == 1700
    group(tmp_path, unit, high=1500)
    assert auto_rank._left_in_group(tmp_path) == 1200
    group(tmp_path, "system.slice", max=5000, high="max", current=4100)
    assert auto_rank._left_in_group(tmp_path) == 900
    group(tmp_path, "system.slice", stat="anon 1\ninactive_file 200\nactive_file 7")
    assert auto_rank._left_in_group(tmp_path) == 1100


def test_a_node_offers_what_it_affords(run_config, monkeypatch):
    """Three nodes of one machine: one has a rank, two look at what is free."""
    configs = {0: {"lora-rank": "auto"}, 1: {"lora-rank": 2}}
    _, _, server = run(run_config, node_configs=configs)
    ranks = [member.rank for member in server.membership.members]
    assert ranks == [8, 2, 8]  # plenty: the largest of the run


def test_little_memory_is_a_small_rank_or_none(run_config, monkeypatch):
    configs = {0: {"lora-rank": "auto"}}
    monkeypatch.setattr(auto_rank, "free_memory", lambda device: 10_000)
    folder, _, _ = run(run_config, node_configs=configs)
    (event,) = read_events(folder, "node-left-out")
    assert "--node-config lora-rank = 'auto': " in event["reason"]
    assert "free memory" in event["reason"]
