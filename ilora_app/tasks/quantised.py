"""Frozen weights in 8 or 4 bits, by bitsandbytes, where it and CUDA are there."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BitsAndBytesConfig
from transformers.quantizers import HfQuantizer

from ilora_app.settings import ModelSettings


def problem(settings: ModelSettings, whole_model: bool) -> str:
    """Say why the weights cannot be quantised as asked; empty where they can."""
    if settings.quantisation == "none":
        return ""
    missing = []
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append("the package bitsandbytes (pip install bitsandbytes)")
    if not torch.cuda.is_available():
        missing.append("a CUDA device, and torch sees none")
    if whole_model:
        missing.append(
            "a strategy that trains factors: whole weights cannot be trained"
        )
    if not missing:
        return ""
    return (
        f"quantisation = {settings.quantisation!r}: needs {' and '.join(missing)}; "
        "expected none here"
    )


def config(settings: ModelSettings, model: Any, whole: Sequence[str]) -> Any:
    """Make the quantisation config that transformers loads the model with.

    Args:
        settings: with the number of bits.
        model: of the same architecture, without weights.
        whole: names of modules that are trained whole: of few bits there is no
            gradient, and what a checkpoint lacks is not drawn in them.

    """
    # Beside what transformers leaves out by itself, such as the output.
    kept = HfQuantizer.get_modules_to_not_convert(
        model, list(whole), add_default_skips=True
    )
    if settings.quantisation == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=kept,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
    )
