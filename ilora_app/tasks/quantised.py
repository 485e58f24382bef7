"""Frozen weights in 8 or 4 bits, by bitsandbytes, where it and CUDA are there."""

import importlib.util
from typing import Any

import torch
from transformers import BitsAndBytesConfig

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


def config(settings: ModelSettings) -> Any:
    """Make the quantisation config that transformers loads the model with."""
    if settings.quantisation == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
    )
