"""The README.md of an exported adapter: what it is, and the lines that load it."""

from collections.abc import Mapping

from ilora_app.settings import Settings
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT

_CLASSES = {
    TEXT: ("AutoModelForSequenceClassification", "AutoTokenizer"),
    IMAGE: ("AutoModelForImageClassification", "AutoImageProcessor"),
    LANGUAGE: ("AutoModelForCausalLM", "AutoTokenizer"),
}


def card(
    settings: Settings, labels: tuple[str, ...], rank: int, results: Mapping[str, float]
) -> str:
    """Write the card.

    Args:
        settings: of the run.
        labels: names of the classes in the order of their ids; none without classes.
        rank: of the adapter.
        results: what was measured with it.

    """
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in results.items())
    model, processor = _CLASSES[settings.model.task]
    name = settings.model.model
    options = f'"{name}"'
    if labels:
        options += f", num_labels={len(labels)}, ignore_mismatched_sizes=True"
    data, learned = settings.data.dataset, settings.data.label_column
    if settings.model.task == LANGUAGE:
        learned = settings.data.answer_column
    classes = f"\nlabels = {list(labels)!r}" if labels else ""
    return f"""---
base_model: {name}
library_name: peft
tags: [lora, federated-learning, flower]
---

# LoRA adapter, trained by federated learning

Task {settings.model.task}, strategy `{settings.run.strategy}`,
{settings.run.num_server_rounds} rounds, data set `{data}` (column `{learned}`). Rank
{rank}, relative to the untouched base model.

| measured on the test split | |
|---|---|
{measured}

```python
from peft import PeftModel
from transformers import {model}, {processor}

base = {model}.from_pretrained({options})
model = PeftModel.from_pretrained(base, "this/folder").eval()
processor = {processor}.from_pretrained("this/folder"){classes}
```
"""
