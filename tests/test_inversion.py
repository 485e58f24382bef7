"""What is read of a node's data: all in the clear, nothing behind masks and noise."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks import inversion, revealing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory, minilm, small_data) -> dict[str, Any]:
    """A BERT of width 128, untrained, with a real vocabulary."""
    folder = tmp_path_factory.mktemp("bert")
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4}
    size = {"hidden_size": 128, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size, **small)).save_pretrained(
        folder
    )
    return {
        "model": str(folder), "dataset": small_data, "min-partition-size": 5,
        "local-steps": 5, "client-ranks": "4", "base-dropout": False,
    }  # fmt: skip


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def agreement(pairs) -> float:
    return mean(revealing.correlation(*pair) for pair in pairs)


@pytest.fixture(scope="module")
def shares(config):
    return inversion.shares(config, 5)


def test_a_head_tells_the_operator_the_classes_of_each_node(shares):
    for view in ("update, SGD", "control variate"):
        assert agreement(shares[view]) > 0.95, view
        assert mean(revealing.distance(*pair) for pair in shares[view]) < 0.15
    assert agreement(shares["update, AdamW"]) > 0.6


def test_behind_masks_it_tells_nothing_of_one_node(shares):
    hidden = shares["secure: masked vector"]
    assert len(hidden) == 5
    assert agreement(hidden) < 0.6  # of five draws of noise: 4 sigma
    assert mean(revealing.distance(*pair) for pair in hidden) > 0.3
    # What is opened is of all together: one estimate, as near to each as their mean.
    opened = [found for found, _ in shares["secure: opened sum"]]
    assert all(torch.equal(found, opened[0]) for found in opened)
    assert agreement(shares["secure: opened sum"]) < agreement(shares["update, SGD"])


def test_noise_hides_a_node_from_those_who_know_all_others(config):
    found: dict[float, list] = {}
    for target in (1, 2, 3, 4, 5):
        rises, true = inversion.released(config, (1e-6, 1.0), 5, target)
        for noise, rise in rises.items():
            pair = revealing.class_shares(rise), true
            found.setdefault(noise, []).append(pair)
    # The attack is a good one: without noise it finds what the operator finds.
    assert agreement(found[1e-6]) > 0.9
    assert agreement(found[1.0]) < 0.6


@pytest.fixture(scope="module")
def batch(config):
    return inversion.batch(config, 4, 2, 28)


def test_a_control_variate_of_a_small_batch_tells_its_tokens_and_labels(batch):
    view = "plain: control variate"
    assert mean(node["recall"] for node in batch[view]) > 0.95
    assert mean(node["precision"] for node in batch[view]) > 0.85
    assert all(node["labels"] for node in batch[view])
    assert "goodbye" in " ".join(word for node in batch[view] for word in node["read"])


def test_behind_masks_there_are_no_tokens(batch):
    for view in ("secure: masked vector", "secure: opened sum"):
        for node in batch[view]:
            assert node["recall"] == 0.0, node
            assert not any(node["read"])
    assert not any(node["labels"] for node in batch["secure: masked vector"])


def test_a_sum_over_few_short_texts_tells_them(config):
    """Honest about the limit: three nodes with one text each are too few."""
    found = inversion.batch(config, 3, 1, 20)["secure: opened sum"]
    assert mean(node["recall"] for node in found) > 0.7
    # Of all three together: which is whose is not told.
    assert mean(node["precision"] for node in found) < 0.6
