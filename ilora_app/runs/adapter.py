"""Export: the federation's model as an adapter that plain PEFT loads on plain W0."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType
from safetensors.torch import load_file, save_file

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.runs.card import card
from ilora_app.settings import Settings
from ilora_app.settings.kinds import (
    LANGUAGE,
    MULTI_LABEL,
    REGRESSION,
    SEQ2SEQ,
    TAGS,
    TEXT,
)
from ilora_app.settings.options import names

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
_TYPES = {
    **dict.fromkeys((TEXT, MULTI_LABEL, REGRESSION), TaskType.SEQ_CLS),
    TAGS: TaskType.TOKEN_CLS,
    LANGUAGE: TaskType.CAUSAL_LM,
    SEQ2SEQ: TaskType.SEQ_2_SEQ_LM,
}


def save_adapter(
    folder: Path,
    adapter: AdapterState,
    settings: Settings,
    labels: tuple[str, ...],
    processor: Any,
    results: Mapping[str, float],
    transposed: bool = False,
    model_config: Any = None,
) -> None:
    """Write a folder in PEFT's format: weights, config, tokenizer, and a card.

    Args:
        folder: made here.
        adapter: factors relative to W0, and the head.
        settings: of the run.
        labels: names of the classes in the order of their ids; none without classes.
        processor: tokenizer or image processor, saved beside the adapter.
        results: what was measured with this adapter, for the card.
        transposed: the model's layers hold W0 transposed (GPT-2).
        model_config: transformers' config of the model, with the names of the
            classes: who loads the base with it has them.

    """
    write_weights(folder, adapter, settings, transposed)
    if model_config is not None:
        write_config(folder, model_config)
    processor.save_pretrained(folder)
    text = card(settings, labels, adapter.factors.rank, results)
    (folder / "README.md").write_text(text, encoding="utf-8")


def write_config(folder: Path, config: Any) -> None:
    """Write a model's config.json, without what is of this machine or of training."""
    kept = copy.deepcopy(config)
    kept._name_or_path = ""
    if hasattr(kept, "quantization_config"):
        del kept.quantization_config
    if hasattr(kept, "use_cache"):
        kept.use_cache = True  # gradient checkpointing turns it off
    kept.save_pretrained(folder)


def write_weights(
    folder: Path, adapter: AdapterState, settings: Settings, transposed: bool
) -> None:
    """Write adapter_config.json and adapter_model.safetensors into a folder.

    Args:
        folder: made here.
        adapter: factors relative to W0, and the head.
        settings: of the run.
        transposed: the model's layers hold W0 transposed (GPT-2).

    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = adapter.factors.rank
    alpha = settings.model.lora_scaling * rank
    saved = list(names(settings.model.modules_to_save))
    config = LoraConfig(
        task_type=_TYPES.get(settings.model.task),
        inference_mode=True,
        base_model_name_or_path=settings.model.model,
        r=rank,
        # A whole number where it is one: some readers take no other.
        lora_alpha=round(alpha) if math.isclose(alpha, round(alpha)) else alpha,
        lora_dropout=settings.model.lora_dropout,
        target_modules=list(names(settings.model.target_modules)),
        modules_to_save=saved or None,
        layers_to_transform=settings.model.layers,
        fan_in_fan_out=transposed,
        use_dora=settings.model.use_dora,
    )
    config.save_pretrained(folder)
    tensors = {}
    for module, (B, A) in adapter.factors.items():
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = A.contiguous()
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = B.contiguous()
    for name, value in adapter.head.items():
        tensors[_PREFIX + name] = value.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def read_weights(folder: Path) -> AdapterState:
    """Read what :func:`write_weights` wrote.

    Raises:
        OSError: the file is absent.
        SafetensorError: it is torn.
        KeyError: a layer has one factor alone.
        ValueError: factors are of another form, or not of one rank throughout.

    """
    flat = {
        key.removeprefix(_PREFIX): value
        for key, value in load_file(folder / WEIGHTS).items()
    }
    end = ".lora_B.weight"
    pairs = {
        key.removesuffix(end): (
            flat.pop(key),
            flat.pop(key.removesuffix(end) + ".lora_A.weight"),
        )
        for key in [key for key in flat if key.endswith(end)]
    }
    factors = LoraFactors(pairs)
    for module, (B, A) in pairs.items():
        flat_ones = B.dim() == A.dim() == 2 and B.dtype == A.dtype == torch.float32
        if not flat_ones or not B.shape[1] == A.shape[0] == factors.rank > 0:
            found = f"B {B.dtype} {list(B.shape)}, A {A.dtype} {list(A.shape)}"
            raise ValueError(f"{module}: {found}; expected float32 of one rank")
    return AdapterState(factors, flat)
