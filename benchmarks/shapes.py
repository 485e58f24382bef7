"""Models of published shapes with random weights, and random examples for them."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    LlamaConfig,
    RobertaConfig,
    ViTConfig,
)

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings import ModelSettings
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples, Scores

SCALING = 2.0
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Shape:
    """A model by its config, and the examples it gets."""

    task: str
    auto: Any
    config: Any
    targets: str
    head: str
    length: int


def shapes() -> dict[str, Shape]:
    """The models by name."""
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    roberta = {
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    }
    vit = AutoModelForImageClassification
    text = AutoModelForSequenceClassification
    return {
        "vit-base": Shape(
            IMAGE, vit, ViTConfig(num_labels=100), "q_proj,v_proj", "classifier", 0
        ),
        "roberta-base": Shape(
            TEXT,
            text,
            RobertaConfig(num_labels=100, **roberta, **quiet),
            "query,value",
            "classifier",
            64,
        ),
        "llama-1b": Shape(
            LANGUAGE,
            AutoModelForCausalLM,
            LlamaConfig(
                vocab_size=32000,
                hidden_size=2048,
                intermediate_size=5632,
                num_hidden_layers=22,
                num_attention_heads=32,
                num_key_value_heads=4,
            ),
            "q_proj,v_proj",
            "",
            128,
        ),
        "tiny": Shape(
            TEXT,
            text,
            RobertaConfig(
                num_labels=10, intermediate_size=128, **small, **roberta, **quiet
            ),
            "query,value",
            "classifier",
            32,
        ),
    }


@dataclass(frozen=True)
class RandomExamples(Examples):
    """Examples of one shape, on the CPU as those of a node are."""

    inputs: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.inputs["labels"])

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pick rows."""
        return {key: value[indices] for key, value in self.inputs.items()}

    def scores(self) -> Scores:
        """Not evaluated."""
        raise NotImplementedError

    @classmethod
    def of(cls, shape: Shape, count: int, seed: int) -> "RandomExamples":
        """Draw them."""
        generator = torch.Generator().manual_seed(seed)
        if shape.task == IMAGE:
            pixels = torch.randn(count, 3, 224, 224, generator=generator)
            labels = torch.randint(0, 100, (count,), generator=generator)
            return cls({"pixel_values": pixels, "labels": labels})
        size = (count, shape.length)
        ids = torch.randint(3, shape.config.vocab_size, size, generator=generator)
        most = shape.config.num_labels
        labels = torch.randint(0, most, (count,), generator=generator)
        if shape.task == LANGUAGE:
            labels = ids.clone()
        mask = torch.ones_like(ids)
        return cls({"input_ids": ids, "attention_mask": mask, "labels": labels})


def pretrained(shape: Shape, dtype: torch.dtype) -> Any:
    """Draw the model's weights, the same at every call."""
    torch.manual_seed(0)
    with DEVICE:
        return shape.auto.from_config(shape.config, dtype=dtype)


def make_backbone(shape: Shape, dtype: str) -> Backbone:
    """The model as a node has it."""
    settings = ModelSettings(
        task=shape.task,
        target_modules=shape.targets,
        modules_to_save=shape.head,
        dtype=dtype,
        lora_scaling=SCALING,
    )
    return Backbone(pretrained(shape, getattr(torch, dtype)), None, settings)


def start_of(backbone: Backbone, rank: int, seed: int = 0) -> AdapterState:
    """Small random factors, and the head as it was drawn."""
    generator = torch.Generator().manual_seed(seed)
    pairs = {
        name: (
            0.01 * torch.randn(d_out, rank, generator=generator),
            0.01 * torch.randn(rank, d_in, generator=generator),
        )
        for name, (d_out, d_in) in backbone.shapes().items()
    }
    return AdapterState(LoraFactors(pairs), backbone.initial_head())
