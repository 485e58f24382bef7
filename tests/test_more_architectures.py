"""Architectures that are not told what to adapt: trained, or refused in a sentence."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    ConvNextConfig,
    ModernBertConfig,
    Phi3Config,
    ResNetConfig,
    T5Config,
    T5EncoderModel,
    ViTImageProcessor,
)
from typer.testing import CliRunner

from ilora_app.cli import app
from ilora_app.settings import ModelSettings, Settings, parsing
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks.loading import load_pretrained
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.modules import resolved
from ilora_app.tasks.task import TASKS
from tests import task_data, tiny_models
from tests.local_run import metrics, run

WORDS = {"vocab_size": tiny_models.WORDS, "bos_token_id": 1, "eos_token_id": 2}
LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
CONFIGS = {
    "modernbert": ModernBertConfig(
        **LAYERS, **WORDS, pad_token_id=2, cls_token_id=1, sep_token_id=2
    ),
    "phi3": Phi3Config(**LAYERS, **WORDS, pad_token_id=2),
    "convnext": ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        image_size=32,
        # At 1e-6, as it is drawn, blocks add nothing to random weights.
        layer_scale_init_value=1.0,
    ),
    "resnet": ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    ),
    "t5": T5Config(**T5, vocab_size=tiny_models.WORDS, pad_token_id=0, eos_token_id=2),
}
AUTO = {
    "phi3": AutoModelForCausalLM,
    "convnext": AutoModelForImageClassification,
    "resnet": AutoModelForImageClassification,
}


def tokenizer(ends: bool):
    made = tiny_models.tokenizer()
    made.pad_token = "<unk>"
    if ends:
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)]
        )
    return made


def job(kind: str, folder: Path, ends: bool = True, **changes: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    auto = AUTO.get(kind, AutoModelForSequenceClassification)
    auto.from_config(CONFIGS[kind]).save_pretrained(folder / "model")
    if auto is AutoModelForImageClassification:
        size = {"height": 32, "width": 32}
        ViTImageProcessor(size=size).save_pretrained(folder / "model")
        named = {"task": "image-classification", "dataset": str(folder / "data")}
        tiny_models._images(folder / "data")
    else:
        tokenizer(ends).save_pretrained(folder / "model")
        named = {"task": "text-classification", "dataset": str(folder / "data")}
        tiny_models._texts(folder / "data")
        named |= {"label-column": "domain", "max-length": 24}
    if kind == "phi3":
        named |= {"task": "causal-lm", "text-columns": "text", "label-column": "auto"}
        named |= {"answer-column": "intent", "partitioner": "iid"}
    return {
        **parsing.dump(Settings()),
        "model": str(folder / "model"),
        "num-server-rounds": 1,
        "client-ranks": "2,4",
        "local-steps": 2,
        "batch-size": 8,
        "dirichlet-alpha": 10.0,
        "min-partition-size": 2,
        "learning-rate": 0.01,
        "report": False,
        "output-dir": str(folder / "run"),
        **named,
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("modernbert", "Wqkv"),
        ("phi3", "qkv_proj"),
        ("convnext", "pwconv1,pwconv2"),
        ("t5", "q,v"),
    ],
)
def test_it_trains_without_being_told(tmp_path, kind, targets):
    folder, _, server = run(job(kind, tmp_path))
    table = metrics(folder)
    assert table["loss"].iloc[-1] != table["loss"].iloc[0]
    assert table["loss"].notna().all()
    assert server.prepared.settings.model.target_modules == targets


def test_the_encoder_of_t5_tags_words(tmp_path):
    config = task_data.job("token-classification", tmp_path, report=False)
    model = job("t5", tmp_path / "t5")["model"]
    folder, _, _ = run(parsing.dump(Settings()) | config | {"model": model})
    table = metrics(folder)
    assert table["loss"].iloc[-1] < table["loss"].iloc[0]


@pytest.mark.parametrize("task", ["text-classification", "seq2seq-lm"])
def test_an_encoder_alone_is_not_given_a_random_decoder(tmp_path, task):
    """As in sentence-t5, and the text encoders of image models."""
    torch.manual_seed(0)
    T5EncoderModel(copy.copy(CONFIGS["t5"])).save_pretrained(tmp_path)
    tokenizer(ends=True).save_pretrained(tmp_path)
    settings = ModelSettings(model=str(tmp_path), task=task)
    labels = ("a", "b") if task == "text-classification" else ()
    with pytest.raises(ModelError, match=r"holds no decoder.*task = 'token-class"):
        load_pretrained(settings, labels, 0)
    tags = ModelSettings(model=str(tmp_path), task="token-classification")
    assert load_pretrained(tags, ("a", "b"), 0)[0].config.num_labels == 2


def test_an_image_size_without_positions_to_interpolate(tmp_path):
    folder, _, _ = run(job("convnext", tmp_path, image_size=64, strategy="fedit"))
    assert metrics(folder)["loss"].notna().all()
    picture = tmp_path / "one.png"
    Image.new("RGB", (30, 20), "red").save(picture)
    result = CliRunner().invoke(app, ["predict", str(folder), str(picture)])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("resnet", {}, "no linear layer outside its head.* ViT, Swin or ConvNeXt"),
        ("resnet", {"target_modules": "all-linear"}, "no linear layer outside"),
        ("resnet", {"target_modules": "convolution"}, "no layer of .* convolution"),
        ("t5", {"ends": False}, "reads the end-of-text token"),
    ],
)
def test_it_is_refused_in_a_sentence(tmp_path, kind, changes, said):
    with pytest.raises(ConfigError, match=said):
        run(job(kind, tmp_path, **changes))


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "vit"])
def test_all_linear_is_every_linear_layer_but_the_head(tmp_path, kind):
    made = tiny_models.make(kind, tmp_path / kind)
    task = TASKS[made["task"]]
    model = task.auto_model.from_pretrained(made["model"])
    settings = ModelSettings(task=made["task"], target_modules="all-linear")
    ends = resolved(settings, model, task.has_classes).target_modules.split(",")
    layers = {
        name
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D")
    }
    inside = {name for name in layers if name.startswith(model.base_model_prefix)}
    inside -= {"bert.pooler.dense"}
    chosen = {n for n in layers if any(n == e or n.endswith("." + e) for e in ends)}
    assert chosen == inside


def test_all_linear_trains(tmp_path):
    folder, _, server = run(job("modernbert", tmp_path, target_modules="all-linear"))
    assert server.prepared.settings.model.target_modules == "Wi,Wo,Wqkv"
    assert metrics(folder)["loss"].notna().all()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("use_dora", "did you mean use-dora?"),
        ("lora-alpha", "lora-scaling is lora_alpha / r"),
        ("early-stopping-rounds", "patience ends a run"),
    ],
)
def test_words_of_other_libraries_are_answered(key, said):
    _, problems = parsing.parse({key: 1})
    assert said in problems[key]
