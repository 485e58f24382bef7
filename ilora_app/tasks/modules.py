"""What is read off a model: its layers for factors, its head, how it is called."""

import inspect
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers import PreTrainedModel

from ilora_app.settings import ModelSettings
from ilora_app.settings.data import AUTO
from ilora_app.settings.options import names
from ilora_app.tasks.fit import adaptable, encoder, is_linear, layer_numbers, matching

# Names of query and value, alone or fused with the key, as architectures have them.
_QUERY_AND_VALUE = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("query_key_value",),
    ("qkv",),
    ("c_attn",),
    ("Wqkv",),
    ("qkv_proj",),
    ("pwconv1", "pwconv2"),  # ConvNeXt has no attention, but two layers a block
    ("intermediate_dense", "output_dense"),  # WavLM's attention takes no factors
)
_ALL = "all-linear"


def resolved(
    settings: ModelSettings, model: PreTrainedModel, has_head: bool
) -> ModelSettings:
    """Put names in the place of ``auto``; what cannot be found stays as it is."""
    targets, saved = settings.target_modules, settings.modules_to_save
    if targets == AUTO:
        targets = ",".join(_targets(model)) or AUTO
    if saved == AUTO:
        saved = ",".join(_head(model)) if has_head else ""
    if targets == _ALL:
        apart = [*names(saved), *(_head(model) if has_head else ())]
        targets = ",".join(_all_linear(model, apart)) or AUTO
    settings = replace(settings, target_modules=targets, modules_to_save=saved)
    if settings.layers is None:
        return settings
    known = layer_numbers(names(targets), model)
    count = max(known, default=-1) + 1
    chosen = sorted({n + count if n < 0 else n for n in settings.layers})
    return replace(settings, layers_to_transform=",".join(map(str, chosen)))


def _targets(model: PreTrainedModel) -> Sequence[str]:
    layers = adaptable(model)
    known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(
        model.config.model_type
    )
    candidates = [
        *([tuple(known)] if isinstance(known, list) else []),
        *_QUERY_AND_VALUE,
    ]
    for ends in candidates:
        if all(matching(end, layers) for end in ends):
            return ends
    return ()


def _all_linear(model: PreTrainedModel, apart: Sequence[str]) -> list[str]:
    """Ends of the names of all linear layers but the output and what is apart.

    As short as they can be without being those of a layer that is left out.
    """
    layers = {name for name, module in model.named_modules() if is_linear(module)}
    output = model.get_output_embeddings()
    whole = [m for end in apart for m in matching(end, dict(model.named_modules()))]
    out = {
        name
        for name in layers
        if model.get_submodule(name) is output
        or any(name == m or name.startswith(m + ".") for m in whole)
    }
    out |= layers - set(adaptable(model))
    found = set()
    for name in layers - out:
        parts = name.split(".")
        ends = (".".join(parts[-n:]) for n in range(1, len(parts) + 1))
        found.add(next(end for end in ends if not matching(end, out)))
    return sorted(found)


def _head(model: PreTrainedModel) -> list[str]:
    """Modules beside the encoder, and a pooler that has weights of its own."""
    body = encoder(model)
    head = [
        name
        for name, module in model.named_children()
        if name != body and _has_weights(module)
    ]
    poolers = [
        name
        for name, module in model.named_modules()
        if name.rsplit(".", 1)[-1] == "pooler" and _has_weights(module)
    ]
    return head + ["pooler"] * bool(poolers)


def kept_whole(
    settings: ModelSettings, model: PreTrainedModel, has_head: bool
) -> list[str]:
    """Full names of the modules that are trained whole, and of all of the head."""
    ends = names(resolved(settings, model, has_head).modules_to_save)
    known = dict(model.named_modules())
    head = _head(model) if has_head else []
    return sorted({name for end in (*ends, *head) for name in matching(end, known)})


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def transposed(model: PreTrainedModel, settings: ModelSettings) -> bool:
    """Tell whether the adapted layers hold W0 transposed, as GPT-2's Conv1D does."""
    ends = names(settings.target_modules)
    return any(
        type(module).__name__ == "Conv1D" and name.endswith(ends)
        for name, module in model.named_modules()
    )


def forward_options(model: PreTrainedModel, settings: ModelSettings) -> dict[str, Any]:
    """Keyword arguments that every forward pass of this model takes."""
    own = getattr(model.config, "image_size", None)
    if settings.image_size and own != settings.image_size and has_positions(model):
        return {"interpolate_pos_encoding": True}
    return {}


def has_positions(model: PreTrainedModel) -> bool:
    """Whether a model of images has positions, which other sizes interpolate."""
    return "interpolate_pos_encoding" in inspect.signature(model.forward).parameters


def positions(model: Any, processor: Any) -> int:
    """Tokens that a model has positions for, and its tokenizer takes."""
    config = getattr(model.config, "text_config", None) or model.config
    tokenizer = getattr(processor, "tokenizer", processor)
    found = [
        int(getattr(config, "max_position_embeddings", sys.maxsize)),
        int(getattr(tokenizer, "model_max_length", sys.maxsize)),
    ]
    for name, module in model.named_modules():
        ends = name.endswith("position_embeddings")
        if ends and isinstance(module, nn.Embedding) and module.padding_idx:
            # RoBERTa counts positions from behind the padding index.
            found.append(module.num_embeddings - module.padding_idx - 1)
    return min(found)


def tied(model: nn.Module) -> set[str]:
    """Names of modules whose weight is another module's as well."""
    holders: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        own = module._parameters.get("weight")
        if own is not None:
            holders.setdefault(id(own), []).append(name)
    return {name for names in holders.values() if len(names) > 1 for name in names}
