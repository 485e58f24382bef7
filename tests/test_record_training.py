"""DP-SGD on PEFT's layers and the head, beside Opacus by itself and by hand."""

import copy
import math
from dataclasses import replace
from itertools import cycle

import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.optim import SGD

from ilora_app.lora.factors import AdapterState
from ilora_app.node.data import NodeData
from ilora_app.node.node import Node
from ilora_app.privacy.noise import chosen
from ilora_app.settings import Settings, TrainingSettings, parsing
from ilora_app.tasks import record_training, sources
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.record_training import Noise, losses_of, train
from ilora_app.tasks.text import tokenise
from ilora_app.tasks.training import unfrozen
from tests import tiny_models
from tests.test_training import SETTINGS as DATA
from tests.test_training import backbone, label_names  # noqa: F401

CLIP = 0.05
TRAINING = TrainingSettings(
    optimizer="sgd", learning_rate=0.5, momentum=0.0, batch_size=4, local_steps=3
)
ROWS = [[0, 3], [], [1, 2, 4, 5, 6, 7]]  # the last in two parts
RATE = 0.25


@pytest.fixture
def still(backbone):  # noqa: F811
    """Without dropout, so that a row has one gradient."""
    for module in backbone.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return backbone


@pytest.fixture
def examples(still):
    rows = sources.split(DATA, "test", 0).select(range(8))
    return tokenise(rows, DATA, label_names(DATA, 0), still.processor)


def noise_of(generator: torch.Generator, multiplier: float, rows=ROWS) -> Noise:
    """Rows and noise that can be drawn again."""
    batches = cycle(rows)

    def draw(shape):
        return torch.normal(0.0, 1.0, tuple(shape), generator=generator)

    return Noise(CLIP, multiplier, RATE, len(rows), draw, lambda *_: next(batches))


def trained(backbone, examples, noise, settings=TRAINING):  # noqa: F811
    names = list(backbone.parameters())
    train(backbone, examples, settings, names, 1.0, noise)
    return backbone.collect().named_tensors()


def test_nobody_can_draw_dropout_again(backbone, examples):  # noqa: F811
    """A known mask would move with who else is in the batch: no row has one."""
    ends = []
    for module in backbone.model.modules():
        if isinstance(module, nn.Dropout):  # the examples' backbone has none
            module.p = 0.1
    for one in (copy.deepcopy(backbone), copy.deepcopy(backbone)):
        torch.manual_seed(3)
        ends.append(trained(one, examples, noise_of(torch.Generator(), 0.0)))
    assert any(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_no_seed_of_a_node_follows_from_its_rows():
    settings = parsing.load(parsing.dump(Settings()) | {"dp": "record"})
    node = Node(settings, 2, NodeData(settings.model, settings.data, 0, 0, 2))
    assert len({node.seed(1) for _ in range(8)}) == 8
    plain = parsing.load(parsing.dump(Settings()))
    node = Node(plain, 2, NodeData(plain.model, plain.data, 0, 0, 2))
    assert len({node.seed(1) for _ in range(8)}) == 1


def test_it_is_what_opacus_does_by_itself(still, examples):
    other = copy.deepcopy(still)
    noise = noise_of(torch.Generator().manual_seed(5), 1.3)
    found = trained(still, examples, noise)
    start = other.collect().named_tensors()
    model = GradSampleModule(other.model, loss_reduction="sum")
    optimizer = DPOptimizer(
        SGD(other.parameters().values(), lr=0.5),
        noise_multiplier=1.3,
        max_grad_norm=CLIP,
        expected_batch_size=RATE * len(examples),
        generator=torch.Generator().manual_seed(5),
    )
    model.train()
    for rows in ROWS:
        optimizer.zero_grad()
        if rows:
            losses_of(other, examples.batch(rows)).sum().backward()
        else:
            for p in other.parameters().values():
                p.grad_sample = p.new_zeros((0, *p.shape))
        optimizer.step()
    expected = other.collect().named_tensors()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
        assert not value.equal(start[name])


def by_hand(backbone, examples, row) -> list[torch.Tensor]:  # noqa: F811
    """The gradient of one row's loss, alone in its batch."""
    backbone.model.train()
    loss = losses_of(backbone, examples.batch([row])).sum()
    return list(torch.autograd.grad(loss, list(backbone.parameters().values())))


def test_a_step_is_the_sum_of_clipped_gradients(still, examples):
    expected = {n: v.clone() for n, v in still.collect().named_tensors().items()}
    for row in (0, 3):
        own = by_hand(still, examples, row)
        length = math.sqrt(sum(float(g.square().sum()) for g in own))
        assert length > 2 * CLIP
        for value, gradient in zip(expected.values(), own, strict=True):
            value -= 0.5 * CLIP / length * gradient / (RATE * len(examples))
    found = trained(still, examples, noise_of(torch.Generator(), 0.0, [[0, 3]]))
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_no_row_moves_a_step_by_more_than_the_clip(still, examples):
    """One with a gradient ten thousand times as long as is usual, and without it."""
    adapter = still.collect()
    head = {n: 1e4 * v for n, v in adapter.head.items()}
    worst = AdapterState(adapter.factors, head)
    ends = []
    for rows in ([0, 3], [0]):
        still.install(worst, adapter.factors.pairs)
        noise = noise_of(torch.Generator(), 0.0, [rows])
        ends.append(trained(still, examples, noise))
    long = math.sqrt(sum(float(g.square().sum()) for g in by_hand(still, examples, 3)))
    squares = [float((v - ends[1][n]).square().sum()) for n, v in ends[0].items()]
    moved = math.sqrt(sum(squares))
    assert long > 100 * CLIP
    assert moved <= 0.5 * CLIP / (RATE * len(examples)) * 1.05  # 1e4 in float32


def test_parts_change_nothing_and_nothing_is_left_on_the_model(still, examples):
    start = still.collect()
    ends = []
    for parts in (1, 4):
        still.install(start, start.factors.pairs)
        settings = replace(TRAINING, gradient_accumulation=parts)
        noise = noise_of(torch.Generator().manual_seed(1), 1.0)
        ends.append(trained(still, examples, noise, settings))
    for name, value in ends[0].items():
        assert torch.allclose(value, ends[1][name], atol=1e-6)
    for parameter in still.parameters().values():
        assert not hasattr(parameter, "grad_sample")
    assert not any(m._forward_hooks for m in still.model.modules())


def test_noise_and_rows_are_not_drawn_again(still, examples):
    start, ends = still.collect(), []
    for _ in range(2):
        still.install(start, start.factors.pairs)
        ends.append(trained(still, examples, Noise(CLIP, 1.0, RATE, 1)))
    assert all(not ends[0][n].equal(ends[1][n]) for n in ends[0])
    counts = [len(chosen(1000, 0.1)) for _ in range(200)]
    mean = sum(counts) / 200
    spread = math.sqrt(sum((n - mean) ** 2 for n in counts) / 199)
    assert mean == pytest.approx(100, abs=4)
    assert spread == pytest.approx(math.sqrt(90), rel=0.25)
    assert chosen(50, 1.0) == list(range(50))


def test_a_model_that_mixes_rows_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(ModelError, match="1 normalises over the rows"):
        record_training._hooks(model)


@pytest.mark.slow
@pytest.mark.parametrize("kind", tiny_models.ARCHITECTURES)
def test_gradients_of_rows_of_every_architecture(kind, tmp_path):
    """Those that hooks keep, beside each row alone in its batch, or a refusal."""
    named = tiny_models.make(kind, tmp_path)
    settings = parsing.load({**parsing.dump(Settings()), **named, "augment": False})
    data = NodeData(settings.model, settings.data, 0, 0, 2)
    own, rows, examples = data.backbone(), [0, 1, 2], data.examples()[0]
    own.model.train()
    for module in own.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    parameters = unfrozen(own, None)
    hooks = record_training._hooks(own.model)
    how = own, examples, rows, torch.Generator().manual_seed(0), parameters.values()
    if kind == "swin":  # which takes windows of an image for rows
        with pytest.raises(ModelError, match="sees other rows than its examples"):
            record_training._backward(*how)
        return
    record_training._backward(*how)
    kept = [p.grad_sample.clone() for p in parameters.values()]
    hooks.cleanup()
    for place, row in enumerate(rows):
        for value, gradient in zip(kept, by_hand(own, examples, row), strict=True):
            assert torch.allclose(value[place], gradient, atol=1e-4, rtol=1e-3)
