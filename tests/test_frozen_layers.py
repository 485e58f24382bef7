"""Which layers are frozen, and what they compute."""

import copy
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, Wav2Vec2ForSequenceClassification

from ilora_app.tasks.frozen_layers import BELOW, FrozenLayers
from tests import media, tiny_models
from tests.test_remembered import anew, data_of, trained


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return {"bert": tiny_models.make("bert", tmp_path_factory.mktemp("bert"))}


@pytest.mark.parametrize("module", ["embeddings", "layer.0.output"])
def test_nothing_is_kept_of_what_lies_behind_a_module_that_is_trained(made, module):
    """Embeddings that are trained whole change what the frozen layers get."""
    changes = {"modules_to_save": f"classifier,{module}"}
    settings, data = data_of(made["bert"], **changes)
    assert not data.examples()[0].ready() or not data.backbone().frozen
    _, without = data_of(made["bert"], activation_cache=0, **changes)
    kept, computed = trained(settings, data), trained(settings, without)
    assert kept[1]["loss"] == pytest.approx(computed[1]["loss"], rel=1e-4)
    assert any("embeddings" in n or "output" in n for n in kept[2].named_tensors())


def test_what_is_kept_is_without_dropout_whatever_the_model_does_now(made):
    _, data = data_of(made["bert"], **{"base-dropout": True})
    model = data.backbone().model
    model.train()
    one = anew(data).batch([0, 1])[BELOW]
    assert model.training
    model.eval()
    assert one.equal(anew(data).batch([0, 1])[BELOW])


def test_all_layers_below_the_first_adapted_one_are_frozen():
    model = BertModel(
        BertConfig(
            hidden_size=8,
            num_hidden_layers=4,
            vocab_size=9,
            num_attention_heads=1,
            intermediate_size=8,
        )
    )
    name = "encoder.layer.{}.attention.self.query"
    for first in (1, 2, 3):
        adapted = [name.format(n) for n in range(first, 4)]
        found = FrozenLayers.below(model, adapted[::-1], [])
        assert found
        assert list(found._layers) == list(model.encoder.layer)[:first]
    assert FrozenLayers.below(model, [name.format(0)], []) is None
    assert FrozenLayers.below(model, [name.format(2), "pooler.dense"], []) is None


@pytest.mark.parametrize("weighted", [False, True])
def test_layers_that_are_all_weighed_in_the_answer_are_computed(tmp_path, weighted):
    """What the lower ones give is lost where only the last of them is kept."""
    config = copy.deepcopy(media.AUDIO_CONFIGS["wav2vec2"])
    config.update({"num_hidden_layers": 4, "use_weighted_layer_sum": weighted})
    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(config)
    adapted = [f"wav2vec2.encoder.layers.{n}.attention.q_proj" for n in (2, 3)]
    found = FrozenLayers.below(model, adapted, [])
    assert (found is None) == weighted


def test_a_failure_gives_the_layers_back(made):
    _, data = data_of(made["bert"])
    frozen = data.backbone().frozen
    assert isinstance(frozen, FrozenLayers)
    with pytest.raises(RuntimeError, match="broken"), frozen.given(torch.zeros(1)):
        raise RuntimeError("broken")
    assert not any("forward" in m.__dict__ for m in data.backbone().model.modules())
