"""Rows with nothing to learn: sentences of no words, alone in a batch or in a part."""

from dataclasses import replace

import pytest
import torch

from ilora_app.node.data import NodeData
from ilora_app.settings import TrainingSettings, parsing
from ilora_app.tasks import training
from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.stacked_loss import StackedLosses
from ilora_app.tasks.tags import TagExamples
from tests import task_data
from tests.test_more_tasks import whole


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    config = whole(
        task_data.job("token-classification", tmp_path_factory.mktemp("tags"))
    )
    settings = parsing.load(config)
    return NodeData(settings.model, settings.data, 0, 0, 2)


@pytest.fixture
def examples(data) -> TagExamples:
    """Three rows, of which the last has no words."""
    some = data.examples()[0]
    rows = [dict(row) for row in some.rows[:3]]
    rows[2]["labels"] = [IGNORED] * len(rows[2]["labels"])
    return replace(some, rows=rows)


SETTINGS = TrainingSettings(local_steps=3, learning_rate=0.01)


@pytest.mark.parametrize(("size", "parts"), [(1, 1), (3, 3), (2, 1), (2, 2)])
def test_training_goes_on_past_them(data, examples, size, parts):
    backbone = data.backbone()
    settings = replace(SETTINGS, batch_size=size, gradient_accumulation=parts)
    found = training.train(backbone, examples, settings, 0)
    assert 0 < found.loss < 10
    assert all(bool(p.isfinite().all()) for p in backbone.parameters().values())


def test_of_nothing_else_the_loss_and_the_gradient_are_zero(data, examples):
    nothing = replace(examples, rows=[examples.rows[2]] * 2)
    settings = replace(SETTINGS, batch_size=2, gradient_accumulation=2)
    assert training.train(data.backbone(), nothing, settings, 0).loss == 0.0
    gradient = training.mean_gradient(data.backbone(), nothing, 1)
    assert gradient
    assert not any(bool(value.any()) for value in gradient.values())


def test_they_add_nothing_to_a_gradient(data, examples):
    backbone = data.backbone()
    with_words = replace(examples, rows=examples.rows[:2])
    one, other = (
        training.mean_gradient(backbone, e, 1) for e in (examples, with_words)
    )
    assert any(bool(value.any()) for value in one.values())
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_beside_other_clients_in_one_batch_too(data, examples):
    backbone = data.backbone()
    losses = StackedLosses(backbone, [examples] * 2, 0.0)
    found = losses([examples.batch([0]), examples.batch([2])])
    assert float(found[0]) > 0
    assert float(found[1]) == 0
    found.sum().backward()
    grads = [p.grad for p in backbone.parameters().values() if p.grad is not None]
    assert grads
    assert all(bool(grad.isfinite().all()) for grad in grads)
