"""Untrained models of every kind of architecture, small enough for a round a second."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from ilora_app.tasks import sources

ARCHITECTURES = ("bert", "roberta", "vit", "swin", "gpt2", "llama")
WORDS = 400


def make(kind: str, folder: Path, width: int = 32) -> dict[str, Any]:
    """Save a model and data for it; returns the run config that names them."""
    torch.manual_seed(0)
    model, task, length = _model(kind, width)
    model.save_pretrained(folder / "model")
    if task == "image-classification":
        side = model.config.image_size
        size = {"height": side, "width": side}
        ViTImageProcessor(size=size).save_pretrained(folder / "model")
        _images(folder / "data")
        return {
            "task": task,
            "model": str(folder / "model"),
            "dataset": str(folder / "data"),
        }
    tokenizer().save_pretrained(folder / "model")
    _texts(folder / "data")
    columns = {"text-columns": "text", "label-column": "domain"}
    if task == "causal-lm":
        columns = {
            "text-columns": "text",
            "answer-column": "intent",
            "partitioner": "iid",
        }
    return {
        "task": task,
        "model": str(folder / "model"),
        "dataset": str(folder / "data"),
        "max-length": length,
        **columns,
    }


def _model(kind: str, width: int) -> tuple[Any, str, int]:
    small: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 3 * width // 2,
    }
    words = {"vocab_size": WORDS, "bos_token_id": 1, "eos_token_id": 2}
    if kind == "bert":
        return BertModel(BertConfig(**small, vocab_size=WORDS)), TEXT, 24
    if kind == "roberta":
        config = RobertaConfig(
            **small, **words, pad_token_id=2, max_position_embeddings=40
        )
        return RobertaModel(config), TEXT, 24
    if kind == "vit":
        config = ViTConfig(**small, image_size=16, patch_size=8)
        return ViTForImageClassification(config), "image-classification", 0
    if kind == "swin":
        config = SwinConfig(
            image_size=32,
            patch_size=2,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[2, 2, 2, 2],
            window_size=2,
        )
        return SwinForImageClassification(config), "image-classification", 0
    if kind == "gpt2":
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **words)
        return GPT2LMHeadModel(config), "causal-lm", 32
    config = LlamaConfig(
        **small, **words, num_key_value_heads=2, tie_word_embeddings=True
    )
    return LlamaForCausalLM(config), "causal-lm", 32


TEXT = "text-classification"


def _rows(split: str, number: int) -> list[dict[str, str]]:
    lines = (sources.PACKAGED / "clinc150" / f"{split}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[:number]]


def _texts(folder: Path) -> None:
    folder.mkdir()
    for split, number in (("train", 120), ("test", 24)):
        lines = [json.dumps(row) for row in _rows(split, number)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learned from the packaged texts, without a pad token."""
    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=["<unk>", "<s>", "</s>"]
    )
    texts = [row["text"] for row in _rows("train", 500)]
    learned.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=learned,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=64,
    )


def _images(folder: Path) -> None:
    """Stripes of two directions and two colours: classes that can be told apart."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    features = Features(
        {"img": Image(), "label": ClassLabel(names=["up", "across", "red", "blue"])}
    )
    for split, number in (("train", 80), ("test", 16)):
        rows = []
        for index in range(number):
            pixels = torch.randint(0, 80, (20, 20, 3), generator=generator)
            label = index % 4
            if label == 0:
                pixels[:, ::4] += 150
            elif label == 1:
                pixels[::4] += 150
            else:
                pixels[..., 0 if label == 2 else 2] += 150
            image = Pillow.fromarray(pixels.to(torch.uint8).numpy())
            rows.append({"img": image, "label": label})
        table = Dataset.from_list(rows, features=features)
        table.to_parquet(str(folder / f"{split}.parquet"))
