"""Whether the layers and modules that the settings name are there in a model."""

import re
from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from ilora_app.settings import ModelSettings
from ilora_app.settings.data import AUTO
from ilora_app.settings.options import names

# Modules that a classification model draws anew: without training they are noise.
_NEW_HEADS = ("classifier", "score")
# Attention that takes the weights of its layers instead of calling them, so that
# factors beside them would do nothing, by the model's kind.
_UNCALLED = {"wavlm": ("q_proj", "k_proj", "v_proj", "out_proj")}


def problems(model: PreTrainedModel, settings: ModelSettings) -> list[str]:
    """Every mistake in ``target-modules`` and ``modules-to-save`` for this model."""
    modules = dict(model.named_modules())
    layers = {name for name, module in modules.items() if is_linear(module)}
    targets, saved = names(settings.target_modules), names(settings.modules_to_save)
    found = []
    if AUTO in targets and not _outside_the_head(model, layers):
        found.append(
            f"target-modules = 'auto': {settings.model} has no linear layer outside "
            "its head, and factors go beside linear layers alone (a ResNet is made of "
            "convolutions); expected another model, such as a ViT, Swin or ConvNeXt"
        )
        targets = ()
    elif AUTO in targets:
        found.append(
            f"target-modules = 'auto': {settings.model} has no layers of the usual "
            f"names; its linear layers end in {_ends(layers)}: name those to use"
        )
        targets = ()
    unmatched = [t for t in targets if not matching(t, layers)]
    if unmatched:
        found.append(
            f"target-modules = {settings.target_modules!r}: no layer of "
            f"{settings.model} ends in {', '.join(unmatched)}; its linear layers end "
            f"in {_ends(layers)}"
        )
    uncalled = _UNCALLED.get(model.config.model_type, ())
    useless = [t for t in targets if t.rsplit(".", 1)[-1] in uncalled]
    if useless:
        found.append(
            f"target-modules = {settings.target_modules!r}: {settings.model} computes "
            f"with the weights of {', '.join(useless)} past factors beside them; "
            "expected others, such as intermediate_dense,output_dense"
        )
    known = layer_numbers(targets, model)
    unknown = [n for n in settings.layers or () if n not in known]
    if unknown and targets and not unmatched:
        range_ = f"layers {min(known)} to {max(known)}" if known else "no numbered ones"
        found.append(
            f"layers-to-transform = {settings.layers_to_transform!r}: "
            f"{settings.model} has {range_}"
        )
    missing = [s for s in saved if not matching(s, modules)]
    if missing:
        found.append(
            f"modules-to-save = {settings.modules_to_save!r}: {settings.model} has no "
            f"module {', '.join(missing)}; its outer modules are "
            f"{', '.join(name for name, _ in model.named_children())}"
        )
    new = [h for h in _NEW_HEADS if matching(h, modules) and h not in saved]
    if new:
        found.append(
            f"modules-to-save = {settings.modules_to_save!r}: {', '.join(new)} starts "
            "untrained and has to be among them"
        )
    inside = {m for s in saved for m in matching(s, modules)}
    both = [
        layer
        for t in targets
        for layer in matching(t, layers)
        if any(layer == m or layer.startswith(m + ".") for m in inside)
    ]
    if both:
        found.append(
            f"target-modules = {settings.target_modules!r}: {', '.join(both)} would "
            "get factors and is trained whole as well (modules-to-save)"
        )
    return found


def _outside_the_head(model: PreTrainedModel, layers: Iterable[str]) -> bool:
    """Whether a linear layer is in what transformers calls the base of a model."""
    begin = f"{encoder(model)}."
    return any(name.startswith(begin) for name in layers)


def encoder(model: PreTrainedModel) -> str:
    """Name of the part that is not the head.

    It is what transformers calls the base of a model; where that is none of its parts,
    as in Whisper's classifier and CLIP's of images, the largest one.
    """
    parts = dict(model.named_children())
    if model.base_model_prefix in parts:
        return str(model.base_model_prefix)
    sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in parts.items()}
    return max(sizes, key=lambda name: sizes[name], default="")


def adaptable(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers beside which factors count."""
    uncalled = _UNCALLED.get(model.config.model_type, ())
    return [
        name
        for name, module in model.named_modules()
        if is_linear(module) and name.rsplit(".", 1)[-1] not in uncalled
    ]


def is_linear(module: nn.Module) -> bool:
    """Tell layers that PEFT can put factors beside."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def layer_numbers(ends: Iterable[str], model: nn.Module) -> set[int]:
    """Numbers of the layers that hold linear modules with these ends of their names.

    The first number in a name counts, and has to have two names before it, as in PEFT.
    """
    found = [
        re.match(r".*?\.[^.]*\.(\d+)\.", name)
        for name, module in model.named_modules()
        if is_linear(module) and any(matching(end, [name]) for end in ends)
    ]
    return {int(match[1]) for match in found if match}


def matching(end: str, modules: Iterable[str]) -> list[str]:
    """Names that are ``end`` or end in it after a dot, as PEFT matches them."""
    return [name for name in modules if name == end or name.endswith("." + end)]


def _ends(layers: Iterable[str]) -> str:
    return ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers}))
