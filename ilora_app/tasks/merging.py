"""W0 + s T: what a federation has merged into the base of a model."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from peft.utils.other import transpose
from torch import Tensor, nn
from torch.nn import functional


class MergedBase:
    """The base weights of adapted layers, and what is added to them.

    Weights are always made from a copy of W0, so that nothing adds up; the copy is made
    when the first T comes. Some layers cannot take T in and keep it beside them: the
    quantised, which would lose it, and those that share their weight with another
    module, which would change with them.

    Args:
        layers: adapted layers by module name.
        scaling: s.
        dtype: of the model.
        apart: names of the layers that keep their weights.

    """

    def __init__(
        self,
        layers: Mapping[str, LoraLayer],
        scaling: float,
        dtype: torch.dtype,
        apart: set[str],
    ) -> None:
        self._layers, self._scaling = layers, scaling
        self._apart = apart
        self._beside = _Beside(scaling, dtype)
        self._pristine: dict[str, Tensor] = {}
        self._moved = False

    def original(self, name: str) -> Tensor:
        """W0 of a layer, dequantised: shape (d_out, d_in)."""
        layer = self._layers[name]
        W0 = self._pristine.get(name)
        if W0 is None:
            W0 = dequantize_module_weight(layer.get_base_layer()).detach()
        found: Tensor = transpose(W0, layer.fan_in_fan_out)
        return found

    def put(self, base: Mapping[str, Tensor]) -> None:
        """Hold T of these layers, (d_out, d_in), in the place of what was held."""
        beside = {name: T for name, T in base.items() if name in self._apart}
        self._beside.put(self._layers, beside)
        if not base and not self._moved:
            return
        with torch.no_grad():
            for name in self._layers.keys() - self._apart:
                self._move(name, base.get(name))
        self._moved = bool(base)

    def _move(self, name: str, T: Tensor | None) -> None:
        layer = self._layers[name]
        weight = layer.get_base_layer().weight
        W0 = self._pristine.setdefault(name, weight.detach().clone())
        if T is None:
            weight.copy_(W0)
            return
        T = transpose(T, layer.fan_in_fan_out).to(weight.device)
        # Rounded once, where W0 is half precision.
        weight.copy_(W0.float() + self._scaling * T.float())


class _Beside:
    """Layers that keep their weights: they compute W0 x + s T x, with T dense.

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
