"""PEFT adapters of one model: made once a rank, and which of them compute now."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.functional import set_adapter
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from ilora_app.lora.factors import MAGNITUDE, AdapterState, LoraFactors
from ilora_app.settings import ModelSettings
from ilora_app.settings.options import names

_PREFIX = "base_model.model."
SHARED, OFFSET, PRIVATE = "rank", "base", "private"
"""What an adapter is for: what a federation shares, with a head; what a base gives up,
which stays frozen; what a client keeps."""


class Adapters:
    """LoRA layers of PEFT around a frozen model.

    Args:
        model: gets the layers, in place.
        settings: which layers, scaling, dropout, modules of the head.
        fused: the weights are stored as (d_in, d_out).
        device: where everything computes.

    Attributes:
        peft: PEFT's model.
        active: names of the adapters that compute now; the first is the shared one.

    """

    def __init__(
        self,
        model: PreTrainedModel,
        settings: ModelSettings,
        fused: bool,
        device: torch.device,
    ) -> None:
        self._settings, self._fused, self._device = settings, fused, device
        first = f"{SHARED}-1"
        self.peft = get_peft_model(model, self._config(1, True), adapter_name=first)
        self.active = [first]
        self._kinds: dict[type[Any], list[tuple[str, Any]]] = {}
        self._settle()
        dtype = getattr(torch, settings.dtype)
        for _, wrapper in self.heads():
            if isinstance(wrapper.original_module, nn.Embedding):
                # What follows is frozen in this type, and a CPU's norms take no other.
                wrapper.register_forward_hook(lambda _, __, found: found.to(dtype))
        wrapped = [*self.layers(), *self.heads()]
        self._wrapped = nn.ModuleList(module for _, module in wrapped)

    def ensure(self, purpose: str, rank: int) -> str:
        """Have an adapter of this rank for this purpose; returns its name."""
        name = f"{purpose}-{rank}"
        if name not in self.peft.peft_config:
            self.peft.add_adapter(name, self._config(rank, purpose == SHARED))
            self._settle()
        return name

    def activate(self, adapters: Sequence[str]) -> None:
        """Compute with these; all but what a base gives up can be trained."""
        # PEFT's own goes through every module of the model, twice.
        set_adapter(self._wrapped, list(adapters))
        self.peft.base_model.active_adapter = list(adapters)
        self.active = list(adapters)
        for name in adapters:
            if name.startswith(f"{OFFSET}-"):  # PEFT would train all that is active
                for _, layer in self.layers():
                    for side in (layer.lora_A, layer.lora_B):
                        side[name].weight.requires_grad_(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Of the shared one, under the names of ``AdapterState.named_tensors``."""
        shared = self.active[0]
        pairs = {
            name: (layer.lora_B[shared].weight, layer.lora_A[shared].weight)
            for name, layer in self.layers()
        }
        head = {
            f"{name}.{key}": value
            for name, wrapper in self.heads()
            for key, value in self.head_module(wrapper).named_parameters()
        }
        found: dict[str, nn.Parameter] = AdapterState(
            LoraFactors(pairs), head | self.magnitudes()
        ).named_tensors()  # type: ignore[assignment]
        return found

    def magnitudes(self) -> dict[str, nn.Parameter]:
        """Of the shared one, by name; none without DoRA."""
        if not self._settings.use_dora:
            return {}
        return {
            name + MAGNITUDE: layer.lora_magnitude_vector[self.active[0]].weight
            for name, layer in self.layers()
        }

    def head_module(self, wrapper: ModulesToSaveWrapper) -> Any:
        """The module of the head that a wrapper of PEFT runs now."""
        return wrapper.modules_to_save[self.active[0]]

    def layers(self) -> list[tuple[str, LoraLayer]]:
        """PEFT's adapted layers by module name."""
        return self._of_kind(LoraLayer)

    def heads(self) -> list[tuple[str, ModulesToSaveWrapper]]:
        """PEFT's wrappers of the head by module name."""
        return self._of_kind(ModulesToSaveWrapper)

    def _of_kind(self, kind: type[Any]) -> list[tuple[str, Any]]:
        """Modules of a kind by name; PEFT makes none after the first adapter."""
        if kind not in self._kinds:
            self._kinds[kind] = [
                (name.removeprefix(_PREFIX), module)
                for name, module in self.peft.named_modules()
                if isinstance(module, kind)
            ]
        return self._kinds[kind]

    def _settle(self) -> None:
        """Move what was made to the device; train it in float32 whatever W0 is."""
        if self._settings.quantisation == "none":
            self.peft.to(self._device)
        for _, wrapper in self.heads():
            wrapper.modules_to_save.to(self._device, torch.float32)

    def _config(self, rank: int, shared: bool) -> LoraConfig:
        s = self._settings
        head = list(names(s.modules_to_save)) or None
        return LoraConfig(
            r=rank,
            lora_alpha=s.lora_scaling * rank,
            lora_dropout=s.lora_dropout if shared else 0.0,
            target_modules=list(names(s.target_modules)),
            modules_to_save=head if shared else None,
            layers_to_transform=s.layers,
            fan_in_fan_out=self._fused,
            use_dora=s.use_dora and shared,
        )
