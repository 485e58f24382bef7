"""Number types, accumulation, checkpointing and dropout-free equality of the ways."""

import math
import re
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import DataSettings, ModelSettings, TrainingSettings
from ilora_app.tasks import data, models, quantised, training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.labels import label_names
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.task import TASKS
from tests import tiny_models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {
        kind: tiny_models.make(kind, tmp_path_factory.mktemp(kind))
        for kind in ("bert", "vit", "gpt2", "swin")
    }


def load(named: dict[str, Any], **changes: Any) -> tuple[Backbone, Examples]:
    task = named["task"]
    given = {k.replace("-", "_"): v for k, v in named.items()}
    fields = {k: v for k, v in given.items() if k not in ("task", "model")}
    settings = data.resolve_columns(DataSettings(**fields), task, 0)
    classes = label_names(settings, 0) if TASKS[task].has_classes else ()
    model = ModelSettings(task=task, model=named["model"], **changes)
    backbone = load_backbone(model, classes, 0)
    rows = data.test_rows(settings, 0)
    examples = TASKS[task].encode(rows, settings, classes, backbone.processor, "here")
    start = AdapterState(backbone.directions(4), backbone.initial_head())
    backbone.install(start)
    return backbone, examples


def trained(named: dict[str, Any], steps: int = 3, **changes: Any) -> AdapterState:
    parts = changes.pop("gradient_accumulation", 1)
    backbone, examples = load(named, **changes)
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # its masks depend on how a batch is cut
    settings = TrainingSettings(
        optimizer="sgd",
        learning_rate=0.1,
        local_steps=steps,
        batch_size=8,
        gradient_accumulation=parts,
    )
    training.train(backbone, examples, settings, seed=0)
    return backbone.collect()


def distance(one: AdapterState, other: AdapterState) -> float:
    a, b = one.named_tensors(), other.named_tensors()
    return max(float((a[n] - b[n]).abs().max()) for n in a)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_gives_the_same_steps(made, kind, parts):
    """Also where the parts hold unequal numbers of learned tokens."""
    whole = trained(made[kind])
    cut = trained(made[kind], gradient_accumulation=parts)
    assert distance(whole, cut) < 1e-5


@pytest.mark.parametrize("kind", ["bert", "vit", "gpt2", "swin"])
def test_checkpointing_gives_the_same_steps(made, kind):
    whole = trained(made[kind])
    again = trained(made[kind], gradient_checkpointing=True)
    assert distance(whole, again) < 1e-5


@pytest.mark.parametrize("kind", ["bert", "vit", "gpt2"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_holds_the_base_and_trains_in_float32(made, kind, dtype):
    backbone, examples = load(made[kind], dtype=dtype)
    kept = dict(backbone.base_weights())
    assert {W.dtype for W in kept.values()} == {getattr(torch, dtype)}
    assert {p.dtype for p in backbone.parameters().values()} == {torch.float32}
    before = training.evaluate(backbone, examples, 8)
    full, _ = load(made[kind])
    exact = training.evaluate(full, examples, 8)
    assert before["loss"] == pytest.approx(exact["loss"], rel=0.02)
    settings = TrainingSettings(local_steps=12, batch_size=8, learning_rate=0.01)
    start = backbone.collect()
    training.train(backbone, examples, settings, seed=0)
    found = backbone.collect()
    assert all(t.isfinite().all() for t in found.named_tensors().values())
    assert distance(start, found) > 1e-3
    assert training.evaluate(backbone, examples, 8)["loss"] < before["loss"]


@pytest.mark.parametrize(
    ("kind", "saved"),
    [("gpt2", "wte"), ("bert", "classifier,embeddings.word_embeddings")],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_embeddings_that_train_stand_before_a_base_in_half(made, kind, saved, dtype):
    """They are float32, and the norms behind them are not."""
    backbone, examples = load(made[kind], dtype=dtype, modules_to_save=saved)
    full, _ = load(made[kind], modules_to_save=saved)
    exact = training.evaluate(full, examples, 8)["loss"]
    before = training.evaluate(backbone, examples, 8)["loss"]
    assert before == pytest.approx(exact, rel=0.02)
    start = backbone.collect()
    words = [name for name in start.head if "wte" in name or "embeddings" in name]
    settings = TrainingSettings(local_steps=4, batch_size=8, learning_rate=0.01)
    training.train(backbone, examples, settings, seed=0)
    head = backbone.collect().head
    assert words
    for name in words:
        assert head[name].dtype == torch.float32
        assert not torch.equal(head[name], start.head[name])


def test_a_base_in_half_precision_is_rounded_once(made):
    backbone, _ = load(made["gpt2"], dtype="bfloat16")
    W0 = {name: W.clone() for name, W in backbone.base_weights()}
    small = {name: torch.full(W.shape, 1e-3) for name, W in W0.items()}
    held = backbone.collect()
    for _ in range(5):
        backbone.install(held, base=small)
    layer = next(iter(W0))
    module = dict(backbone.layers())[layer]
    now = module.get_base_layer().weight.T.float()
    expected = (W0[layer].float() + 2.0 * 1e-3).to(torch.bfloat16).float()
    assert torch.equal(now, expected)
    backbone.install(held)
    assert all(torch.equal(W, W0[name]) for name, W in backbone.base_weights())


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a node without says")
def test_quantisation_without_cuda_says_what_is_missing(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    settings = ModelSettings(model=made["bert"]["model"], quantisation="4bit")
    with pytest.raises(models.ModelError) as caught:
        load_backbone(settings, ("a", "b"), 0)
    assert str(caught.value).startswith("quantisation = '4bit': needs ")
    assert "a CUDA device" in str(caught.value)
    assert quantised.problem(replace(settings, quantisation="none"), False) == ""


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_base_starts_where_it_was_and_takes_increments(
    tmp_path, monkeypatch, bits
):
    """On the CPU, which bitsandbytes can do slowly, and the app refuses otherwise."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(quantised, "problem", lambda *_: "")
    named = tiny_models.make("llama", tmp_path, width=256)
    plain, examples = load(named)
    backbone, _ = load(named, quantisation=bits)
    exact, near = dict(plain.base_weights()), dict(backbone.base_weights())
    assert backbone.shapes() == plain.shapes()
    for name, W in exact.items():
        error = (near[name].float() - W).norm() / W.norm()
        assert 1e-4 < error < (0.02 if bits == "8bit" else 0.2)

    start = AdapterState(backbone.directions(4), {})
    nothing = AdapterState(LoraFactors({}), {})
    backbone.install(nothing)
    untouched = training.evaluate(backbone, examples, 8)["loss"]
    backbone.install(start, dict(start.factors.items()))
    assert training.evaluate(backbone, examples, 8)["loss"] == (
        pytest.approx(untouched, abs=2e-3)
    )
    dense = {name: B @ A for name, (B, A) in start.factors.items()}
    backbone.install(start)
    beside = training.evaluate(backbone, examples, 8)["loss"]
    assert beside != pytest.approx(untouched, abs=1e-3)
    backbone.install(nothing, base=dense)
    assert training.evaluate(backbone, examples, 8)["loss"] == (
        pytest.approx(beside, abs=2e-3)
    )
    backbone.install(nothing)
    assert training.evaluate(backbone, examples, 8)["loss"] == untouched
    if bits == "4bit":
        return  # on the CPU bitsandbytes passes no gradient after an inference pass
    backbone.install(start, dict(start.factors.items()))
    settings = TrainingSettings(local_steps=10, batch_size=8, learning_rate=0.01)
    training.train(backbone, examples, settings, seed=0)
    assert training.evaluate(backbone, examples, 8)["loss"] < untouched - 0.05


def test_positions_behind_the_padding_index_do_not_count(tmp_path):
    named = tiny_models.make("roberta", tmp_path)
    settings = ModelSettings(model=named["model"])
    backbone = load_backbone(settings, ("a", "b"), 0)
    assert backbone.longest == 40 - 2 - 1


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("name", ["bert", "roberta", "vit"])
@pytest.mark.parametrize("saved", ["auto", "classifier"])
def test_what_is_trained_whole_is_not_quantised(
    tmp_path, monkeypatch, bits, name, saved
):
    """Neither a pooler nor a head: of few bits there is no gradient."""
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(quantised, "problem", lambda *_: "")
    named = tiny_models.make(name, tmp_path, width=256)
    backbone, examples = load(named, quantisation=bits, modules_to_save=saved)
    kinds = {n: type(m).__name__ for n, m in backbone.model.named_modules()}
    few = {n for n, kind in kinds.items() if kind in ("Linear8bitLt", "Linear4bit")}
    assert few, "the frozen layers are"
    assert not [n for n in few if re.search("pooler|classifier", n)]
    assert backbone.initial_head()
    found = training.evaluate(backbone, examples, 8)["loss"]
    assert math.isfinite(found)
