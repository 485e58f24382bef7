"""The local loop: batches, losses, and the full-pass gradient."""

from collections import Counter

import pytest
import torch

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import DataSettings, ModelSettings, TrainingSettings
from ilora_app.tasks import data, training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.text import TextExamples, tokenise


@pytest.fixture
def backbone(tiny_model: str) -> Backbone:
    labels = data.label_names(DataSettings(), 0)
    found = load_backbone(ModelSettings(model=tiny_model), labels, seed=0)
    eye = {m: torch.eye(4) for m in found.base_weights()}
    found.install(AdapterState(found.directions(4), found.initial_head()), eye)
    return found


@pytest.fixture
def examples(backbone: Backbone) -> TextExamples:
    rows = data.split(DataSettings(), "test", 0).select(range(50))
    labels = data.label_names(DataSettings(), 0)
    return tokenise(rows, DataSettings(), labels, backbone.tokenizer)


@pytest.mark.parametrize(
    ("size", "steps", "epochs", "sizes"),
    [
        (16, 3, 1, [16, 16, 16]),
        (16, 6, 1, [16, 16, 16, 2, 16, 16]),
        (16, 0, 2, [16, 16, 16, 2] * 2),
        (64, 2, 1, [50, 50]),
    ],
)
def test_batches(examples, size, steps, epochs, sizes):
    generator = torch.Generator().manual_seed(0)
    batches = list(examples.training_batches(size, steps, epochs, generator))
    assert [len(batch["labels"]) for batch in batches] == sizes


def test_an_epoch_holds_every_example_once(examples):
    generator = torch.Generator().manual_seed(0)
    seen = Counter()
    for batch in examples.training_batches(16, 0, 1, generator):
        seen.update(tuple(row[row > 0].tolist()) for row in batch["input_ids"])
    assert seen == Counter(tuple(row["input_ids"]) for row in examples.rows)


def test_evaluation_does_not_depend_on_the_batch_size(backbone, examples):
    one = training.evaluate(backbone, examples, 1)
    many = training.evaluate(backbone, examples, 64)
    assert one["accuracy"] == many["accuracy"]
    assert one["loss"] == pytest.approx(many["loss"], abs=1e-5)


def test_the_full_pass_gradient_is_that_of_the_mean_loss(backbone, examples):
    found = training.mean_gradient(backbone, examples, batch_size=7)
    backbone.model.eval()
    backbone.model.zero_grad()
    backbone.model(**examples.batch(list(range(50)))).loss.backward()
    for name, parameter in backbone.parameters().items():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_training_lowers_the_loss_and_is_repeatable(backbone, examples):
    settings = TrainingSettings(local_steps=30, learning_rate=1e-2)
    start = backbone.collect()
    offset = {m: torch.eye(4) for m in backbone.base_weights()}
    before = training.evaluate(backbone, examples, 64)["loss"]
    ends = []
    for _ in range(2):
        backbone.install(start, offset)
        outcome = training.train(backbone, examples, settings, seed=5)
        ends.append(backbone.collect().named_tensors())
    assert outcome.examples == 50
    assert training.evaluate(backbone, examples, 64)["loss"] < before
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
