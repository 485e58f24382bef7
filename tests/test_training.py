"""The local loop: batches, losses, and the full-pass gradient."""

from collections import Counter

import pytest
import torch

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import DataSettings, ModelSettings, TrainingSettings
from ilora_app.settings.model import TEXT
from ilora_app.tasks import data, sources, training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.text import TextExamples, tokenise

SETTINGS = data.resolve_columns(DataSettings(), TEXT, 0)


@pytest.fixture
def backbone(tiny_model: str) -> Backbone:
    labels = label_names(SETTINGS, 0)
    found = load_backbone(ModelSettings(model=tiny_model), labels, seed=0)
    start = found.directions(4)
    found.install(AdapterState(start, found.initial_head()), start.pairs)
    return found


@pytest.fixture
def examples(backbone: Backbone) -> TextExamples:
    rows = sources.split(SETTINGS, "test", 0).select(range(50))
    labels = label_names(SETTINGS, 0)
    return tokenise(rows, SETTINGS, labels, backbone.processor)


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
    drawn = list(examples.drawn(size, steps, epochs, generator))
    assert [len(examples.batch(indices)["labels"]) for indices in drawn] == sizes


def test_an_epoch_holds_every_example_once(examples):
    generator = torch.Generator().manual_seed(0)
    seen = Counter()
    for indices in examples.drawn(16, 0, 1, generator):
        batch = examples.batch(indices)
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
    offset = start.factors.pairs
    before = training.evaluate(backbone, examples, 64)["loss"]
    ends = []
    for _ in range(2):
        backbone.install(start, offset)
        outcome = training.train(backbone, examples, settings, seed=5)
        ends.append(backbone.collect().named_tensors())
    assert outcome.examples == 50
    assert training.evaluate(backbone, examples, 64)["loss"] < before
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_frozen_parameters_stay_as_they_are_to_the_last_bit(backbone, examples):
    names = [name for name in backbone.parameters() if not name.endswith("lora_A")]
    before = backbone.collect().named_tensors()
    settings = TrainingSettings(local_steps=3, weight_decay=0.1)
    training.train(backbone, examples, settings, 0, names)
    after = backbone.collect().named_tensors()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.endswith("lora_A"), name


def test_a_penalty_carries_its_gradient(backbone, examples):
    parameters = backbone.parameters()
    before = sum(float(p.detach().norm()) for p in parameters.values())
    settings = TrainingSettings(local_steps=20, learning_rate=1e-2)

    def penalty() -> torch.Tensor:
        return 100 * torch.stack([p.norm() for p in parameters.values()]).sum()

    outcome = training.train(backbone, examples, settings, 0, penalties=[penalty, None])
    assert sum(float(p.detach().norm()) for p in parameters.values()) < 0.9 * before
    assert outcome.loss < 10, "the reported loss is without the penalty"
