"""Which layers get factors and which modules are the head, where nobody says."""

from collections.abc import Sequence
from dataclasses import replace

from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers import PreTrainedModel

from ilora_app.settings import ModelSettings
from ilora_app.settings.data import AUTO
from ilora_app.tasks.fit import is_linear, matching

# Names of query and value, alone or fused with the key, as architectures have them.
_QUERY_AND_VALUE = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("query_key_value",),
    ("qkv",),
    ("c_attn",),
)


def resolved(
    settings: ModelSettings, model: PreTrainedModel, has_classes: bool
) -> ModelSettings:
    """Put names in the place of ``auto``; what cannot be found stays as it is."""
    targets, saved = settings.target_modules, settings.modules_to_save
    if targets == AUTO:
        targets = ",".join(_targets(model)) or AUTO
    if saved == AUTO:
        saved = ",".join(_head(model)) if has_classes else ""
    return replace(settings, target_modules=targets, modules_to_save=saved)


def _targets(model: PreTrainedModel) -> Sequence[str]:
    layers = [name for name, module in model.named_modules() if is_linear(module)]
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


def _head(model: PreTrainedModel) -> list[str]:
    """Modules beside the encoder, and a pooler that has weights of its own."""
    encoder = model.base_model_prefix
    head = [
        name
        for name, module in model.named_children()
        if name != encoder and _has_weights(module)
    ]
    poolers = [
        name
        for name, module in model.named_modules()
        if name.rsplit(".", 1)[-1] == "pooler" and _has_weights(module)
    ]
    return head + ["pooler"] * bool(poolers)


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())
