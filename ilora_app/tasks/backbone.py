"""The frozen model, loaded once a process: put factors in, take factors out."""

import sys
from collections.abc import Iterator, Mapping
from functools import cache

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from peft.utils.other import transpose
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.initialisation import qr_directions
from ilora_app.options import names
from ilora_app.settings import ModelSettings
from ilora_app.tasks import fit, models

_PREFIX = "base_model.model."


class Backbone:
    """A pretrained model with PEFT's LoRA layers, whose base is never written to.

    A layer computes W0 x + s (B A - B0 C R) x, B0 being the B installed. The first
    product is a trainable PEFT adapter of the client's rank; the second, what the QR
    start took out of the base, is a second adapter that stays frozen. So one model in
    memory serves clients of every rank, and nothing has to be undone in W0.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: ModelSettings,
    ) -> None:
        problems = fit.problems(model, settings)
        if problems:
            raise models.ModelError("\n".join(problems))
        self.tokenizer = tokenizer
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._settings = settings
        self._directions: dict[int, LoraFactors] = {}
        self._peft = get_peft_model(model, self._lora(1), adapter_name="rank-1")
        self._active = "rank-1"
        self.model: nn.Module = self._peft.to(self.device)

    @property
    def longest(self) -> int:
        """Tokens that the model has positions for."""
        return int(getattr(self._peft.config, "max_position_embeddings", sys.maxsize))

    def base_weights(self) -> dict[str, Tensor]:
        """W0 of every adapted layer: module name -> shape (d_out, d_in)."""
        return {
            name: transpose(
                layer.get_base_layer().weight.detach(), layer.fan_in_fan_out
            )
            for name, layer in self._layers()
        }

    def directions(self, rank: int) -> LoraFactors:
        """Leading QR directions of W0, as every node of the federation computes them.

        Kept by rank: cutting a larger set instead would make the last bit depend on
        which clients this process has served before.
        """
        if rank not in self._directions:
            self._directions[rank] = qr_directions(self.base_weights(), rank)
        return self._directions[rank]

    def initial_head(self) -> dict[str, Tensor]:
        """The head as it was loaded, by ``<module>.<parameter>``."""
        return {
            f"{name}.{key}": value.detach().float().cpu().clone()
            for name, wrapper in self._saved_modules()
            for key, value in wrapper.original_module.named_parameters()
        }

    def install(self, adapter: AdapterState, offset: Mapping[str, Tensor]) -> None:
        """Become the model W0 + s (B A - B C R) with this head.

        Args:
            adapter: factors of any rank r, and the head.
            offset: module -> C of shape (r, r_max), with R the first r_max rows of the
                QR of W0; empty for none.

        """
        rank = adapter.factors.rank
        active = [self._ensure("rank", rank)]
        if offset:
            active.append(self._ensure("base", rank))
        self._peft.base_model.set_adapter(active)
        self._active = active[0]
        parameters = self.parameters()
        with torch.no_grad():
            for name, value in adapter.named_tensors().items():
                parameters[name].copy_(value)
            if not offset:
                return
            for name, layer in self._layers():
                C = offset[name]
                _, R = self.directions(C.shape[1])[name]
                for side, value in (
                    (layer.lora_B, -adapter.factors[name][0]),
                    (layer.lora_A, C @ R.cpu()),
                ):
                    side[active[1]].weight.copy_(value).requires_grad_(False)

    def collect(self) -> AdapterState:
        """Take out what is trained, as float32 copies on the CPU."""
        flat = {
            n: p.detach().float().cpu().clone() for n, p in self.parameters().items()
        }
        return AdapterState.from_named_tensors(flat)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained now, under the names of ``AdapterState.named_tensors``."""
        pairs = {
            name: (layer.lora_B[self._active].weight, layer.lora_A[self._active].weight)
            for name, layer in self._layers()
        }
        head = {
            f"{name}.{key}": value
            for name, wrapper in self._saved_modules()
            for key, value in wrapper.modules_to_save[self._active].named_parameters()
        }
        found: dict[str, nn.Parameter] = AdapterState(
            LoraFactors(pairs), head
        ).named_tensors()  # type: ignore[assignment]
        return found

    def _ensure(self, purpose: str, rank: int) -> str:
        """Have an adapter of this rank; ``base`` ones carry no head."""
        name = f"{purpose}-{rank}"
        if name not in self._peft.peft_config:
            config = self._lora(rank, head=purpose == "rank")
            self._peft.add_adapter(name, config)
            self.model.to(self.device)
        return name

    def _lora(self, rank: int, head: bool = True) -> LoraConfig:
        s = self._settings
        return LoraConfig(
            r=rank,
            lora_alpha=s.lora_scaling * rank,
            lora_dropout=s.lora_dropout if head else 0.0,
            target_modules=list(names(s.target_modules)),
            modules_to_save=list(names(s.modules_to_save)) if head else None,
        )

    def _layers(self) -> Iterator[tuple[str, LoraLayer]]:
        for name, module in self._peft.named_modules():
            if isinstance(module, LoraLayer):
                yield name.removeprefix(_PREFIX), module

    def _saved_modules(self) -> Iterator[tuple[str, ModulesToSaveWrapper]]:
        for name, module in self._peft.named_modules():
            if isinstance(module, ModulesToSaveWrapper):
                yield name.removeprefix(_PREFIX), module


@cache
def load_backbone(
    settings: ModelSettings, labels: tuple[str, ...], seed: int
) -> Backbone:
    """Load the model for these classes, once a process; the seed draws the new head.

    Raises:
        ModelError: it cannot be had, or the settings do not fit it.

    """
    where, local = models.locate(settings.model)
    cause = ""
    for only_local in (True,) if local else (True, False):
        torch.manual_seed(seed)  # before each try: the first may have drawn a head
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                where, local_files_only=only_local
            )
            model = AutoModelForSequenceClassification.from_pretrained(
                where,
                local_files_only=only_local,
                num_labels=len(labels),
                use_safetensors=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            continue
        model.config.id2label = dict(enumerate(labels))
        model.config.label2id = {label: i for i, label in enumerate(labels)}
        return Backbone(model, tokenizer, settings)
    if local:
        raise models.ModelError(
            f"model = {settings.model!r}: {where} cannot be loaded ({cause})"
        )
    raise models.ModelError(models.ways_out(settings.model, cause))
