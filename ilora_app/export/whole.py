"""Whether the folder of a model is whole: before a library says so in its own words."""

import json
from dataclasses import fields
from pathlib import Path

from peft import LoraConfig, PeftConfig
from safetensors import SafetensorError, safe_open

from ilora_app.export.places import ReleaseError
from ilora_app.lora.factors import MAGNITUDE, is_magnitude
from ilora_app.runs.adapter import CONFIG, WEIGHTS
from ilora_app.settings.kinds import kind

TOKENIZER = "tokenizer.json"
_B = ".lora_B.weight"
# Entries of adapter_config.json that the app sets.
_WRITTEN = {
    "task_type", "inference_mode", "base_model_name_or_path", "r", "lora_alpha",
    "lora_dropout", "target_modules", "modules_to_save", "layers_to_transform",
    "fan_in_fan_out", "use_dora", "peft_version",
}  # fmt: skip
READERS = {
    "image": ("preprocessor_config.json",),
    "audio": ("preprocessor_config.json",),
    "image and text": ("processor_config.json", "tokenizer_config.json"),
}
"""Files of what reads the rows, by what they are; else it is a tokenizer's."""
_JSON = (
    CONFIG, "config.json", "generation_config.json", TOKENIZER,
    "tokenizer_config.json", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip


def check(folder: Path, task: str, merged: bool) -> None:
    """Check the files of an adapter or of a whole model.

    Args:
        folder: of the model.
        task: of the model.
        merged: the whole model is in it; else an adapter.

    Raises:
        ReleaseError: with the file that is absent or torn.

    """
    wanted = ["config.json"] if merged else [CONFIG, WEIGHTS]
    wanted += READERS.get(kind(task).reads, ("tokenizer_config.json",))
    for name in wanted:
        if not (folder / name).is_file():
            raise ReleaseError(f"{folder}: expected {name} in it, and there is none")
    for name in _JSON:
        if (folder / name).is_file():
            _check_json(folder / name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ReleaseError(
            f"{folder}: expected model.safetensors in it, and there is none"
        )
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise ReleaseError(f"{file} cannot be read: {error}") from None
    if not merged:
        transposed(folder)
        _check_rank(folder)
        _check_magnitudes(folder)


def transposed(folder: Path) -> bool:
    """Whether an adapter is for layers that hold their weights transposed.

    Raises:
        ReleaseError: its adapter_config.json is none of PEFT's.

    """
    try:
        config = PeftConfig.from_pretrained(folder)
        _refuse_more(config)
        return bool(config.fan_in_fan_out)
    except Exception as error:
        # Whatever stands in the file, PEFT may stumble over it in any way.
        why = f"expected what PEFT writes ({reason(error)})"
        raise ReleaseError(f"{folder / CONFIG} cannot be read: {why}") from None


def _refuse_more(config: PeftConfig) -> None:
    """Refuse what the app does not write: PEFT imports and fetches by some of it."""
    if not isinstance(config, LoraConfig):
        raise ValueError(f"peft_type is {config.peft_type}, expected LORA")
    usual = LoraConfig()
    for name in (field.name for field in fields(config)):
        value = getattr(config, name)
        if name not in _WRITTEN and value != getattr(usual, name):
            raise ValueError(f"{name} is {value!r:.200}, expected what the app writes")


def _check_rank(folder: Path) -> None:
    """Hold the rank of adapter_config.json against the tensors, before it is built."""
    said = PeftConfig.from_pretrained(folder).r
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        names = [name for name in file.keys() if name.endswith(_B)]  # noqa: SIM118
        shapes = [file.get_slice(name).get_shape() for name in names]
    wrong = [shape for shape in shapes if len(shape) < 2 or shape[1] != said]
    if wrong:
        raise ReleaseError(
            f"{folder}: {CONFIG} has r = {said!r:.50}, and {WEIGHTS} has B of shape "
            f"{tuple(wrong[0])}: expected one rank"
        )


def _check_magnitudes(folder: Path) -> None:
    """Hold what adapter_config.json says of DoRA against the tensors."""
    said = PeftConfig.from_pretrained(folder).use_dora
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
    there = {name for name in names if is_magnitude(name)}
    layers = {n.removesuffix(_B) for n in names if n.endswith(_B)}
    wanted = {layer + MAGNITUDE for layer in layers} if said is True else set()
    if said not in (True, False) or there != wanted:
        raise ReleaseError(
            f"{folder}: {CONFIG} has use_dora {said!r:.50}, and {WEIGHTS} has "
            f"magnitudes of {len(there)} of {len(layers)} layers: expected of all "
            "with use_dora true, else of none"
        )


def reason(error: Exception) -> str:
    """Write in a line what a library has stumbled over, with the kind of mistake."""
    first = (str(error).splitlines() or [""])[0]
    name = type(error).__name__
    return f"{name}: {first}" if first else name


def _check_json(file: Path) -> None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReleaseError(f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict) or not found:
        raise ReleaseError(f"{file} cannot be read: expected an object with entries")
