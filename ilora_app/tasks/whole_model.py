"""A model of which every weight is trained: full fine-tuning, without factors."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.settings import ModelSettings
from ilora_app.tasks.backbone import Backbone


class WholeModel(Backbone):
    """All parameters are what a :class:`Backbone` calls the head."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        settings: ModelSettings,
    ) -> None:
        super().__init__(model, processor, settings)
        # PEFT's layers go again: the checks of the settings are the same for all.
        self.pretrained = self._peft.unload()
        # float32 copies of half-precision weights: small steps would be lost in them.
        self.model = self.pretrained.to(self.device, torch.float32)
        self.frozen = None
        self._loaded = self.collect().head

    def base_weights(self) -> Iterator[tuple[str, Tensor]]:
        """None: no layer is adapted."""
        return iter(())

    def shapes(self) -> dict[str, tuple[int, int]]:
        """None: no layer is adapted."""
        return {}

    def initial_head(self) -> dict[str, Tensor]:
        """Every parameter as it was loaded, by name."""
        return dict(self._loaded)

    def install(
        self,
        adapter: AdapterState,
        offset: Mapping[str, Pair] | None = None,
        base: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Take these weights."""
        parameters = self.parameters()
        with torch.no_grad():
            for name, value in adapter.named_tensors().items():
                parameters[name].copy_(value)

    def install_merged(self, adapter: AdapterState) -> None:
        """Take these weights."""
        self.install(adapter)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter, under the names of ``AdapterState.named_tensors``."""
        named = dict(self.pretrained.named_parameters())
        flat: dict[str, nn.Parameter] = AdapterState(
            LoraFactors({}), named
        ).named_tensors()  # type: ignore[assignment]
        return flat
