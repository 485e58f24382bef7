"""The README.md of what is exported: what it is, from what, how well it does."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from ilora_app.export import licences, serving, targets
from ilora_app.export.source import Source
from ilora_app.runs.card import learned, literal, loading
from ilora_app.settings import Settings, options, parsing
from ilora_app.settings.kinds import (
    AUDIO,
    IMAGE_TEXT,
    MULTI_LABEL,
    REGRESSION,
    SEQ2SEQ,
    TAGS,
)
from ilora_app.settings.kinds import example as example_of
from ilora_app.settings.model import IMAGE, LANGUAGE, TEXT

_PIPELINES = {
    TEXT: "text-classification",
    IMAGE: "image-classification",
    LANGUAGE: "text-generation",
    MULTI_LABEL: "text-classification",
    REGRESSION: "text-classification",
    TAGS: "token-classification",
    AUDIO: "audio-classification",
    IMAGE_TEXT: "image-classification",
    SEQ2SEQ: "text2text-generation",
}
# Columns of metrics.csv that say how good the exported model is, not another cut of it.
_OTHER_MODEL = re.compile(r"_r\d+$")
# Of the machine that a run was on, and of no use to who repeats it.
_HERE = ("output-dir", "resume")


@dataclass(frozen=True)
class Summary:
    """What was made of a run's model.

    Attributes:
        merged: the whole model; else an adapter.
        round: whose model it is.
        rank: of the adapter; 0 without one.
        energy: part of the global update that the adapter holds.
        measured: with what is exported itself, on the test split; empty: it was not.
        sufficient: the smallest rank of the target that holds nearly all of the update;
            0: none does.
        target: it is made for.
        base: what others call the base model.
        place: where it is on this machine; not for the card.
        magnitudes: rows have lengths of their own (DoRA), of the whole update.

    """

    merged: bool
    round: int
    rank: int = 0
    energy: float = 1.0
    measured: tuple[tuple[str, float], ...] = ()
    sufficient: int = 0
    target: str = ""
    base: str = ""
    place: str = ""
    magnitudes: bool = False


def card(source: Source, made: Summary) -> str:
    """Write the card of an exported folder."""
    s = source.settings
    model, data = s.model, s.data
    base, where = _base(made, model.model), shown(data.dataset)
    title = "Model" if made.merged else "LoRA adapter"
    classes = "".join(
        f"\n| {i} | {literal(name)} |" for i, name in enumerate(source.labels)
    )
    named = f"\n## Classes\n\n| id | |\n|---|---|{classes}\n" if classes else ""
    facts = {
        "task": model.task,
        "base model": f"`{base}`",
        "data set": f"`{where}`{_subset(s)}, column `{learned(s)}`",
        "trained by": f"strategy `{s.run.strategy}`, {_clients(source)}, the model of "
        f"round {source.round} of {s.run.num_server_rounds}",
        "what it is": _what(source, made),
        "licence of the base model": licences.of_base(model.model),
        "licence of the data": licences.of_data(data.dataset),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"""---
{_metadata(source, made)}
---

# {title}, trained by federated learning

| | |
|---|---|
{table}
{named}
## Measured

{_measured(source, made)}

## Use

{loading(model.task, base, source.labels, made.merged)}
or `ilora predict this/folder {example_of(model.task)}`.
{_served(made, base)}
## Trained with

```bash
{command(source)}
```

by [ILoRA for Flower](https://arxiv.org/abs/2511.16069).
"""


def _base(made: Summary, model: str) -> str:
    """Name of the base model; of a folder without one a path to be filled in."""
    folder = options.folder(model)
    known = made.base if made.base != folder.name else ""
    return known or shown(model)


def _served(made: Summary, base: str) -> str:
    """Write how its target serves it, as Markdown."""
    how = (made.target, "this/folder", base, made.merged, made.rank)
    lines = "\n".join(serving.commands(*how))
    if not lines:
        return ""
    title = targets.TARGETS[made.target].title
    return f"\nWith {title}:\n\n```bash\n{lines}\n```\n"


def shown(name: str) -> str:
    """Name of a model or data set; of a folder of this machine the last part alone."""
    folder = options.folder(name)
    return f"PATH/{folder.name}" if folder.is_absolute() else name


def command(source: Source) -> str:
    """Write the command that repeats the run: settings that are not the defaults."""
    defaults = parsing.dump(Settings())
    changed = {
        key: value
        for key, value in parsing.dump(source.settings).items()
        if value != defaults[key] and key not in _HERE
    }
    # What a key of another's method means is not known here: it may name a folder.
    changed |= source.own
    for key in {"model", "dataset", *source.own} & changed.keys():
        if isinstance(value := changed[key], str):
            changed[key] = shown(value)
    words = " ".join(f"{key}={_value(value)}" for key, value in changed.items())
    nodes = len(source.ranks)
    federation = f' --federation-config "num-supernodes={nodes}"' if nodes else ""
    return f"flwr run . --stream{federation}" + (
        f" --run-config {shlex.quote(words)}" if words else ""
    )


def _value(value: object) -> str:
    """Write a value as TOML, such that ``flwr run`` reads it.

    It takes a string to end at the next quote, escaped or not.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    parts = [json.dumps(part, ensure_ascii=False)[1:-1] for part in value.split('"')]
    return '"' + "\\u0022".join(parts).replace("\x7f", "\\u007f") + '"'


def _metadata(source: Source, made: Summary) -> str:
    model, data = source.settings.model, source.settings.data
    known: dict[str, Any] = {
        "library_name": "transformers" if made.merged else "peft",
        "pipeline_tag": _PIPELINES[model.task],
        "tags": ["federated-learning", "flower"] + ["lora"] * (not made.merged),
    }
    # The hub refuses a card that names what is not on it.
    base = _base(made, model.model)
    if base != shown(model.model) or not options.folder(model.model).is_dir():
        known["base_model"] = base
    if "/" in data.dataset and not options.folder(data.dataset).is_absolute():
        known["datasets"] = [data.dataset]
    return str(ModelCardData(**known).to_yaml())


def _what(source: Source, made: Summary) -> str:
    if source.whole:
        return "the whole model, every weight of which was trained"
    if made.merged:
        return "the whole model, with the global update merged into its weights"
    text = f"a PEFT adapter of rank {made.rank}, relative to the untouched base model"
    if made.energy < 1.0:
        text += (
            f": the best approximation of that rank of the global update, of whose "
            f"squared norm it holds {100 * made.energy:.2f} %"
        )
    if made.magnitudes:
        text += "; rows of the weights have the magnitudes of DoRA"
        text += ", which are of the whole update" if made.energy < 1.0 else ""
    return text


def _measured(source: Source, made: Summary) -> str:
    if made.measured:
        values = dict(made.measured)
        text = "Of what lies in this folder, on the test split:"
    else:
        values = {
            name: value
            for name, value in source.row.items()
            if options.quality(name) is None and not _OTHER_MODEL.search(name)
        }
        text = "Of the global model, by the run itself"
        text += " (this adapter is a cut of it):" if made.energy < 1.0 else ":"
    if not values:
        return "Not measured."
    table = "\n".join(f"| {name} | {value:.4f} |" for name, value in values.items())
    return f"{text}\n\n| | |\n|---|---|\n{table}"


def _clients(source: Source) -> str:
    if not source.ranks:
        return "clients not recorded"
    ranks = ", ".join(str(rank) for rank in source.ranks)
    return f"{parsing.count(len(source.ranks), 'client')} of rank {ranks}"


def _subset(settings: Settings) -> str:
    subset = settings.data.dataset_subset
    return f" ({subset})" if subset else ""


def write(folder: Path, source: Source, made: Summary) -> None:
    """Write README.md into a folder."""
    (folder / "README.md").write_text(card(source, made), encoding="utf-8")
