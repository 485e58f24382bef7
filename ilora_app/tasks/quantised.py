"""Frozen weights in 8 or 4 bits, by bitsandbytes, where it and CUDA are there."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BitsAndBytesConfig

from ilora_app.settings import ModelSettings


def problem(settings: ModelSettings, whole_model: bool) -> str:
    """Say why the weights cannot be quantised as asked; empty where they can."""
    if settings.quantisation == "none":
        return ""
    missing = []
    if importlib.util.find_spec("bitsandbytes") is None:
        missing.append('the package bitsandbytes (pip install "ilora[quantised]")')
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


class Beside:
    """What is merged into quantised layers: they compute W0 x + s T x, with T dense.

    T cannot go into 8 or 4 bits without loss, so it stays beside them.

    Args:
        scaling: s.
        dtype: that T is held in.

    """

    def __init__(self, scaling: float, dtype: torch.dtype) -> None:
        self._scaling, self._dtype = scaling, dtype
        self._held: dict[str, Tensor] = {}
        self._hooked: set[str] = set()

    def put(self, layers: Mapping[str, Any], base: Mapping[str, Tensor]) -> None:
        """Hold T of these layers, (d_out, d_in), in the place of what was held."""
        for name in base:
            if name not in self._hooked:
                layers[name].get_base_layer().register_forward_hook(self._hook(name))
                self._hooked.add(name)
        self._held = {
            name: (self._scaling * T).to(
                layers[name].get_base_layer().weight.device, self._dtype
            )
            for name, T in base.items()
        }

    def _hook(self, name: str) -> Callable[..., Tensor]:
        def add(
            module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
        ) -> Tensor:
            if name not in self._held:
                return output
            T = self._held[name]
            return output + functional.linear(inputs[0].to(T.dtype), T).to(output.dtype)

        return add


def config(settings: ModelSettings) -> Any:
    """Make the quantisation config that transformers loads the model with."""
    if settings.quantisation == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, settings.dtype),
    )
