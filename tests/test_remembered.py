"""What the frozen layers compute is kept, and nothing comes out differently by it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForSequenceClassification,
)

from ilora_app.node.data import NodeData
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import stacked_training, training
from ilora_app.tasks.features import ridge_sums
from ilora_app.tasks.frozen_layers import BELOW
from ilora_app.tasks.remembered import RememberedExamples, plain
from ilora_app.tasks.stacked_training import StackedClient
from tests import local_run, tiny_models

# Swin's layers, which give out other than one tensor, are not kept.
KEPT = ("bert", "roberta", "vit", "gpt2", "llama")
UPPER: dict[str, Any] = {
    "layers-to-transform": "-1",
    "base-dropout": False,
    "augment": False,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    kinds = tiny_models.ARCHITECTURES
    return {k: tiny_models.make(k, tmp_path_factory.mktemp(k)) for k in kinds}


def data_of(named: dict[str, Any], **changes: Any) -> tuple[Settings, NodeData]:
    settings = parsing.load(
        {
            **parsing.dump(Settings()),
            "min-partition-size": 5,
            "batch-size": 8,
            "local-steps": 3,
            "optimizer": "sgd",
            **UPPER,
            **named,
            **{key.replace("_", "-"): value for key, value in changes.items()},
        }
    )
    return settings, NodeData(settings.model, settings.data, 0, 0, 2)


def trained(settings: Settings, data: NodeData, seed: int = 1) -> Any:
    """Train for a round from random factors; what came of it, and an evaluation."""
    backbone, examples = data.backbone(), data.examples()[0]
    generator = torch.Generator().manual_seed(0)
    backbone.install(backbone.collect())
    with torch.no_grad():
        for value in backbone.parameters().values():
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    outcome = training.train(backbone, examples, settings.training, seed)
    return outcome, training.evaluate(backbone, examples, 16), backbone.collect()


@pytest.mark.parametrize("kind", KEPT)
def test_training_and_evaluation_are_the_same_with_what_was_kept(made, kind):
    settings, with_it = data_of(made[kind])
    _, without = data_of(made[kind], activation_cache=0)
    examples = with_it.examples()[0]
    assert isinstance(examples, RememberedExamples)
    assert BELOW in examples.batch([0, 1], torch.Generator())
    assert not isinstance(without.examples()[0], RememberedExamples)
    kept, again = trained(settings, with_it), trained(settings, with_it)
    computed = trained(settings, without)
    assert kept[0].loss == pytest.approx(computed[0].loss, rel=1e-5)
    for name, value in computed[1].items():
        assert kept[1][name] == pytest.approx(value, rel=1e-4)
    for name, value in computed[2].named_tensors().items():
        found = kept[2].named_tensors()[name]
        torch.testing.assert_close(found, value, rtol=0, atol=1e-5)
        assert found.equal(again[2].named_tensors()[name])


def anew(data: NodeData) -> RememberedExamples:
    """A node's examples, with nothing kept so far."""
    backbone = data.backbone()
    assert backbone.frozen
    inner = plain(data.examples()[0])
    return RememberedExamples(inner, backbone, backbone.frozen)


def test_the_frozen_layers_run_once(made):
    settings, data = data_of(made["bert"])
    backbone, examples, runs = data.backbone(), anew(data), []
    lowest = dict(backbone.model.named_modules())[
        "base_model.model.bert.encoder.layer.0"
    ]
    handle = lowest.attention.register_forward_hook(lambda *_: runs.append(1))
    examples.ready()
    assert len(runs) == -(-len(examples) // 64)
    training.train(backbone, examples, settings.training, 1)
    training.evaluate(backbone, examples, 16)
    ridge_sums(backbone, examples, 16)
    assert len(runs) == -(-len(examples) // 64)
    training.evaluate(backbone, plain(examples), len(examples))
    assert len(runs) == 1 + -(-len(examples) // 64)
    handle.remove()


def test_an_example_is_kept_as_the_same_bits_whatever_was_asked_first(made):
    found = []
    for first in ([5], [0, 1, 2, 3]):
        _, data = data_of(made["llama"])
        examples = anew(data)
        examples.batch(first)
        found.append(examples.batch([3, 5])[BELOW])
    assert found[0].equal(found[1])


def test_the_sums_of_a_solved_head_are_the_same(made):
    _, with_it = data_of(made["bert"])
    _, without = data_of(made["bert"], activation_cache=0)
    without.backbone().install(with_it.backbone().collect())
    one, other = (
        ridge_sums(d.backbone(), d.examples()[0], 16) for d in (with_it, without)
    )
    torch.testing.assert_close(one.gram, other.gram, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(one.cross, other.cross, rtol=1e-4, atol=1e-4)


def test_several_clients_as_one_batch_use_what_was_kept(made):
    settings, data = data_of(made["roberta"])
    backbone, ends = data.backbone(), []
    start = backbone.collect()
    for cache in (1000, 0):
        _, one = data_of(made["roberta"], activation_cache=cache)
        clients = [
            StackedClient(start, {}, NodeData(*part, k, 2).examples()[0], 5)
            for part in [(one.model, one.settings, 0)]
            for k in range(2)
        ]
        names = list(start.named_tensors())
        ends.append(
            stacked_training.train(one.backbone(), clients, settings.training, names)
        )
    for (_, kept), (_, computed) in zip(*ends, strict=True):
        for name, value in computed.named_tensors().items():
            found = kept.named_tensors()[name]
            torch.testing.assert_close(found, value, rtol=0, atol=1e-5)


def test_clients_with_and_without_room_train_as_one_batch(made):
    settings, data = data_of(made["bert"])
    inner = data.examples()[0]
    assert isinstance(inner, RememberedExamples)
    start = data.backbone().collect()
    mixed = [StackedClient(start, {}, one, 5) for one in (inner, plain(inner))]
    found = stacked_training.train(
        data.backbone(), mixed, settings.training, list(start.named_tensors())
    )
    assert found[0][0].loss == pytest.approx(found[1][0].loss, rel=1e-5)


def test_dropout_and_augmentation_are_drawn_in_every_step(made):
    generator = torch.Generator()
    for kind, change in (("bert", {"base-dropout": True}), ("vit", {"augment": True})):
        _, data = data_of(made[kind], **change)
        examples = data.examples()[0]
        assert BELOW not in examples.batch([0, 1], generator)
        assert BELOW in examples.batch([0, 1])  # in evaluation there is none


def test_nothing_is_kept_where_there_is_no_room(made):
    _, data = data_of(made["bert"])
    examples = anew(data)
    examples._most = 1000
    assert not examples.ready()
    assert BELOW not in examples.batch([0, 1])


@pytest.mark.parametrize("change", [{"layers-to-transform": "all"}, {}])
def test_nothing_is_kept_where_no_layer_lies_below(made, change):
    kind = "bert" if change else "swin"
    _, data = data_of(made[kind], **change)
    examples = data.examples()[0]
    kept = isinstance(examples, RememberedExamples) and examples.ready()
    assert not kept


@pytest.mark.slow
def test_a_whole_run_ends_the_same(made, tmp_path):
    folders = []
    for cache in (1000, 0):
        config = {
            **parsing.dump(Settings()),
            **made["bert"],
            **UPPER,
            "activation-cache": cache,
            "client-ranks": "2,3",
            "num-server-rounds": 2,
            "local-steps": 2,
            "optimizer": "sgd",
            "head-refit-every": 1,
            "output-dir": str(tmp_path / str(cache)),
        }
        folders.append(local_run.run(config)[0])
    one, other = map(local_run.metrics, folders)
    assert list(one["accuracy"]) == list(other["accuracy"])
    assert list(one["loss"]) == pytest.approx(list(other["loss"]), rel=1e-4)
    adapter = json.loads((folders[0] / "adapter/adapter_config.json").read_text())
    assert adapter["layers_to_transform"] == [1]
    loads_in_peft(folders[0], made["bert"]["model"])


def loads_in_peft(folder: Path, model: str) -> None:
    """Plain PEFT makes factors for the chosen layer alone."""
    labels = json.loads((folder / "adapter/config.json").read_text())["id2label"]
    base = AutoModelForSequenceClassification.from_pretrained(
        model, num_labels=len(labels)
    )
    loaded = PeftModel.from_pretrained(base, folder / "adapter")
    names = [n for n, _ in loaded.named_parameters() if "lora_" in n]
    assert names
    assert all(".layer.1." in name for name in names)
