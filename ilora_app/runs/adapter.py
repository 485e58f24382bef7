"""Export: the federation's model as an adapter that plain PEFT loads on plain W0."""

from collections.abc import Mapping
from pathlib import Path

from peft import LoraConfig, TaskType
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from ilora_app.lora.factors import AdapterState
from ilora_app.options import names
from ilora_app.settings import Settings

_PREFIX = "base_model.model."


def save_adapter(
    folder: Path,
    adapter: AdapterState,
    settings: Settings,
    labels: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
    results: Mapping[str, float],
) -> None:
    """Write a folder in PEFT's format: weights, config, tokenizer, and a card.

    Args:
        folder: made here.
        adapter: factors relative to W0, and the head.
        settings: of the run.
        labels: names of the classes in the order of their ids.
        tokenizer: saved beside the adapter.
        results: what was measured with this adapter, for the card.

    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = adapter.factors.rank
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        inference_mode=True,
        base_model_name_or_path=settings.model.model,
        r=rank,
        lora_alpha=settings.model.lora_scaling * rank,
        lora_dropout=settings.model.lora_dropout,
        target_modules=list(names(settings.model.target_modules)),
        modules_to_save=list(names(settings.model.modules_to_save)),
    )
    config.save_pretrained(folder)
    tensors = {}
    for module, (B, A) in adapter.factors.items():
        tensors[f"{_PREFIX}{module}.lora_A.weight"] = A.contiguous()
        tensors[f"{_PREFIX}{module}.lora_B.weight"] = B.contiguous()
    for name, value in adapter.head.items():
        tensors[_PREFIX + name] = value.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    card = _card(settings, labels, rank, results)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _card(
    settings: Settings, labels: tuple[str, ...], rank: int, results: Mapping[str, float]
) -> str:
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in results.items())
    return f"""---
base_model: {settings.model.model}
library_name: peft
tags: [lora, federated-learning, flower]
---

# LoRA adapter, trained by federated learning

Strategy `{settings.run.strategy}`, {settings.run.num_server_rounds} rounds, data set
`{settings.data.dataset}` (label `{settings.data.label_column}`). Rank {rank}, relative
to the untouched base model.

| measured on the test split | |
|---|---|
{measured}

```python
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

base = AutoModelForSequenceClassification.from_pretrained(
    "{settings.model.model}", num_labels={len(labels)}
)
model = PeftModel.from_pretrained(base, "this/folder").eval()
tokenizer = AutoTokenizer.from_pretrained("this/folder")
labels = {list(labels)!r}
```
"""
