"""The backbone: the model function at the start, and what is put in and taken out."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.methods.ilora import ILoRA
from ilora_app.methods.state import Share
from ilora_app.settings import ModelSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone
from tests.conftest import MINILM
from tests.oracles import PUBLISHED

LABELS = tuple("abcdefghij")


def batch(backbone: Backbone) -> dict[str, torch.Tensor]:
    texts = ["where is my card", "play some music and then wake me at seven", "hi"]
    return dict(backbone.processor(texts, padding=True, return_tensors="pt"))


def logits(backbone: Backbone) -> torch.Tensor:
    backbone.model.eval()
    with torch.inference_mode():
        return backbone.model(**batch(backbone)).logits


@pytest.mark.parametrize("gain", ["paper", "scaled"])
def test_initialisation_leaves_the_logits_of_the_real_model_unchanged(gain):
    settings = ModelSettings(model=MINILM, lora_scaling=2.0)
    backbone = load_backbone(settings, LABELS, seed=0)
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_pretrained(
        backbone._peft.config.name_or_path, num_labels=len(LABELS)
    ).eval()
    with torch.inference_mode():
        expected = plain(**batch(backbone)).logits
    strategy = ILoRA(**PUBLISHED, init_gain=gain)
    initial = AdapterState(backbone.directions(16), backbone.initial_head())
    state = strategy.begin(initial)
    for rank in (1, 2, 4, 8, 16):
        share = strategy.share(state, rank)
        offset = share.offset(backbone.directions)
        assert offset
        backbone.install(share.adapter, offset)
        torch.testing.assert_close(logits(backbone), expected, atol=1e-5, rtol=0)
        parameters = backbone.parameters()
        assert all(p.requires_grad for p in parameters.values())
        trainable = [p for p in backbone.model.parameters() if p.requires_grad]
        assert len(trainable) == len(parameters)


@pytest.fixture
def tiny(tiny_model: str) -> Backbone:
    return load_backbone(ModelSettings(model=tiny_model), LABELS, seed=0)


def noisy(backbone: Backbone, rank: int, seed: int) -> Share:
    generator = torch.Generator().manual_seed(seed)
    initial = AdapterState(backbone.directions(rank), backbone.initial_head())
    flat = {
        name: value + 0.2 * torch.randn(value.shape, generator=generator)
        for name, value in initial.named_tensors().items()
    }
    offset = {
        m: 0.3 * torch.randn(rank, 8, generator=generator)
        for m in initial.factors.pairs
    }
    return Share(AdapterState.from_named_tensors(flat), offset)


def test_collect_gives_back_what_was_installed(tiny):
    for rank in (3, 8, 3):
        model = noisy(tiny, rank, seed=rank)
        tiny.install(model.adapter, model.offset(tiny.directions))
        collected = tiny.collect().named_tensors()
        expected = model.adapter.named_tensors()
        assert list(collected) == list(expected)
        assert all(torch.equal(collected[n], expected[n]) for n in expected)


def test_an_installed_model_owes_nothing_to_the_one_before(tiny):
    """One process serves many clients: order must not matter, to the last bit."""
    first, second = noisy(tiny, 4, seed=1), noisy(tiny, 8, seed=2)
    tiny.install(first.adapter, first.offset(tiny.directions))
    before = logits(tiny)
    tiny.install(second.adapter, second.offset(tiny.directions))
    assert not torch.equal(logits(tiny), before)
    tiny.install(second.adapter, {})
    tiny.install(first.adapter, first.offset(tiny.directions))
    assert torch.equal(logits(tiny), before)


def test_the_layers_compute_w0_plus_the_difference(tiny):
    """Against a plain model whose weights were changed densely, in float64 math."""
    model = noisy(tiny, 4, seed=3)
    tiny.install(model.adapter, model.offset(tiny.directions))
    plain = AutoModelForSequenceClassification.from_pretrained(
        tiny._peft.config.name_or_path, num_labels=len(LABELS)
    ).eval()
    layers = dict(plain.named_modules())
    directions = tiny.directions(8)
    with torch.no_grad():
        for name, (B, A) in model.adapter.factors.items():
            R = directions[name][1].double()
            taken = B.double() @ model.coefficients[name].double() @ R
            s = ModelSettings().lora_scaling
            layers[name].weight += s * (B.double() @ A.double() - taken).float()
        for name, value in model.adapter.head.items():
            module, parameter = name.rsplit(".", 1)
            # the pooler and the classifier are whole modules with inner names
            target = plain
            for part in [*module.split("."), parameter]:
                target = getattr(target, part)
            target.copy_(value)
        expected = plain(**batch(tiny)).logits
    torch.testing.assert_close(logits(tiny), expected, atol=1e-4, rtol=1e-4)


def test_the_seed_draws_the_head(tiny_model, tiny):
    other = load_backbone(ModelSettings(model=tiny_model), LABELS, seed=1)
    again = load_backbone(ModelSettings(model=tiny_model), LABELS, seed=0)
    key = "classifier.weight"
    assert not torch.equal(other.initial_head()[key], tiny.initial_head()[key])
    assert torch.equal(again.initial_head()[key], tiny.initial_head()[key])


@pytest.mark.parametrize("rank", [0, 3])
def test_a_base_is_added_to_w0_and_taken_away_again(tiny, rank):
    model = noisy(tiny, 3, seed=4)
    tiny.install(model.adapter)
    before, W0 = logits(tiny), dict(tiny.base_weights())
    W0 = {name: W.clone() for name, W in W0.items()}
    T = {name: 0.1 * torch.randn(W.shape) for name, W in W0.items()}
    adapter = (
        model.adapter if rank else AdapterState(LoraFactors({}), model.adapter.head)
    )
    for _ in range(2):  # the second time, not on top of the first
        tiny.install(adapter, base=T)
    expected = {
        name: (B @ A if rank else 0) + T[name]
        for name, (B, A) in model.adapter.factors.items()
    }
    found = logits(tiny)
    tiny.install(AdapterState(LoraFactors({}), model.adapter.head), base=expected)
    torch.testing.assert_close(found, logits(tiny), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(W, W0[name]) for name, W in tiny.base_weights())
    tiny.install(model.adapter)
    assert torch.equal(logits(tiny), before)


def test_merged_and_unmerged_are_one_model(tiny):
    model = noisy(tiny, 4, seed=5)
    tiny.install(model.adapter)
    expected = logits(tiny)
    tiny.install_merged(model.adapter)
    torch.testing.assert_close(logits(tiny), expected, atol=1e-5, rtol=1e-5)


def test_a_whole_model_starts_where_it_was_loaded_and_trains_every_weight(tiny_model):
    settings = ModelSettings(model=tiny_model)
    whole = load_backbone(settings, LABELS, 0, True)
    adapted = load_backbone(settings, LABELS, 0)
    start = AdapterState(LoraFactors({}), whole.initial_head())
    adapted.install(AdapterState(LoraFactors({}), adapted.initial_head()))
    assert torch.equal(logits(whole), logits(adapted))
    assert len(start.head) == len(list(whole.model.parameters()))
    moved = {name: value + 0.1 for name, value in start.head.items()}
    whole.install(AdapterState(LoraFactors({}), moved))
    assert not torch.allclose(logits(whole), logits(adapted))
    whole.install(AdapterState(LoraFactors({}), whole.initial_head()))
    assert torch.equal(logits(whole), logits(adapted))
