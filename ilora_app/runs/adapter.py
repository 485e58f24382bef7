"""Export: the federation's model as an adapter that plain PEFT loads on plain W0."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig, TaskType
from safetensors.torch import save_file

from ilora_app.lora.factors import AdapterState
from ilora_app.options import names
from ilora_app.runs.card import card
from ilora_app.settings import Settings
from ilora_app.settings.model import LANGUAGE, TEXT

_PREFIX = "base_model.model."
_TYPES = {TEXT: TaskType.SEQ_CLS, LANGUAGE: TaskType.CAUSAL_LM}


def save_adapter(
    folder: Path,
    adapter: AdapterState,
    settings: Settings,
    labels: tuple[str, ...],
    processor: Any,
    results: Mapping[str, float],
    transposed: bool = False,
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

    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = adapter.factors.rank
    saved = list(names(settings.model.modules_to_save))
    config = LoraConfig(
        task_type=_TYPES.get(settings.model.task),
        inference_mode=True,
        base_model_name_or_path=settings.model.model,
        r=rank,
        lora_alpha=settings.model.lora_scaling * rank,
        lora_dropout=settings.model.lora_dropout,
        target_modules=list(names(settings.model.target_modules)),
        modules_to_save=saved or None,
        fan_in_fan_out=transposed,
    )
    config.save_pretrained(folder)
    tensors = {}
    for module, (B, A) in adapter.factors.items():
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = A.contiguous()
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = B.contiguous()
    for name, value in adapter.head.items():
        tensors[_PREFIX + name] = value.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    processor.save_pretrained(folder)
    text = card(settings, labels, rank, results)
    (folder / "README.md").write_text(text, encoding="utf-8")
