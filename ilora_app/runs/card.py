"""The README.md of an exported adapter: what it is, and the lines that load it."""

import re
from collections.abc import Mapping

from ilora_app.runs.places import from_home
from ilora_app.settings import Settings
from ilora_app.settings.kinds import (
    AUDIO,
    IMAGE,
    IMAGE_TEXT,
    LANGUAGE,
    MULTI_LABEL,
    REGRESSION,
    SEQ2SEQ,
    TAGS,
    TEXT,
    kind,
)

_OF_TEXTS = ("AutoModelForSequenceClassification", "AutoTokenizer")
_CLASSES = {
    **dict.fromkeys((TEXT, MULTI_LABEL, REGRESSION), _OF_TEXTS),
    TAGS: ("AutoModelForTokenClassification", "AutoTokenizer"),
    SEQ2SEQ: ("AutoModelForSeq2SeqLM", "AutoTokenizer"),
    IMAGE: ("AutoModelForImageClassification", "AutoImageProcessor"),
    AUDIO: ("AutoModelForAudioClassification", "AutoFeatureExtractor"),
    IMAGE_TEXT: ("CLIPForImageTextClassification", "AutoProcessor"),
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
    base, data = from_home(settings.model.model), from_home(settings.data.dataset)
    return f"""---
base_model: {base}
library_name: peft
tags: [lora, federated-learning, flower]
---

# LoRA adapter, trained by federated learning

Task {settings.model.task}, strategy `{settings.run.strategy}`,
{settings.run.num_server_rounds} rounds, data set `{data}` (column
`{learned(settings)}`). Rank {rank}, relative to the untouched base model.

| measured on the test split | |
|---|---|
{measured}

{loading(settings.model.task, settings.model.model, labels)}"""


def literal(text: str) -> str:
    """Write text of the data in Markdown as it is: no markup, HTML, links or cells."""
    line = " ".join(text.split())
    return re.sub(r"([\\`\[\]<>|&!])", r"\\\1", line)


def learned(settings: Settings) -> str:
    """Name of the column that the model was trained to predict."""
    if kind(settings.model.task).writes:
        return settings.data.answer_column or settings.data.text_columns
    return settings.data.label_column


def loading(task: str, base: str, labels: tuple[str, ...], merged: bool = False) -> str:
    """Write the lines that load what lies in a folder, as Markdown.

    Args:
        task: of the model.
        base: name of the base model, as transformers loads it.
        labels: names of the classes in the order of their ids.
        merged: the folder holds the whole model.

    """
    model, processor = _CLASSES[task]
    config = "" if merged else "AutoConfig, "
    imports = f"from transformers import {config}{model}, {processor}"
    if task == IMAGE_TEXT:  # transformers has no class of the kind
        imports = f"""from transformers import {config}{processor}

from ilora_app.tasks.image_text_model import {model}"""
    classes = f"\nlabels = {list(labels)!r}  # by id" if labels else ""
    if merged:
        return f"""```python
{imports}

model = {model}.from_pretrained("this/folder").eval()
processor = {processor}.from_pretrained("this/folder"){classes}
```
"""
    shown = from_home(base)
    name, more = f'"{shown}"', ""
    if shown != base:
        name, more = f"expanduser({name})", "from os.path import expanduser\n\n"
    # The head is in the adapter: that of the base may be for other classes.
    resized = ", ignore_mismatched_sizes=True" if kind(task).has_head else ""
    return f"""```python
{more}from peft import PeftModel
{imports}

config = AutoConfig.from_pretrained("this/folder")
base = {model}.from_pretrained({name}, config=config{resized})
model = PeftModel.from_pretrained(base, "this/folder").eval()
processor = {processor}.from_pretrained("this/folder"){classes}
```
"""
