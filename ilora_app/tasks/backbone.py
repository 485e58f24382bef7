"""The frozen model, loaded once a process: put factors in, take factors out."""

import sys
from collections.abc import Iterator, Mapping

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from peft.utils.other import transpose
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ilora_app.lora.factors import AdapterState, LoraFactors, Pair, group_of
from ilora_app.lora.initialisation import qr_directions
from ilora_app.options import names
from ilora_app.settings import ModelSettings
from ilora_app.tasks import fit, models

_PREFIX = "base_model.model."


class Backbone:
    """A pretrained model with PEFT's LoRA layers.

    A layer computes W0 x + s (T + B A - O) x. B A is a trainable PEFT adapter of the
    client's rank; O, what the QR start took out of the base, is a second adapter that
    stays frozen; so one model in memory serves clients of every rank. T, what a
    federation has merged into the base, is added to the weights themselves, always
    from a copy of W0 that is made when the first T comes.
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
        self._pristine: dict[str, Tensor] = {}
        self._moved = False
        self._peft = get_peft_model(model, self._lora(1), adapter_name="rank-1")
        self._active = "rank-1"
        self.model: nn.Module = self._peft.to(self.device)

    @property
    def longest(self) -> int:
        """Tokens that the model has positions for."""
        return int(getattr(self._peft.config, "max_position_embeddings", sys.maxsize))

    def base_weights(self) -> dict[str, Tensor]:
        """W0 of every adapted layer: module name -> shape (d_out, d_in)."""
        found = {}
        for name, layer in self._layers():
            weight = layer.get_base_layer().weight.detach()
            W0 = self._pristine.get(name, weight)
            found[name] = transpose(W0, layer.fan_in_fan_out)
        return found

    def shapes(self) -> dict[str, tuple[int, int]]:
        """(d_out, d_in) of every adapted layer."""
        return {n: (W.shape[0], W.shape[1]) for n, W in self.base_weights().items()}

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

    def install(
        self,
        adapter: AdapterState,
        taken_out: Mapping[str, Pair] | None = None,
        base: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Become the model W0 + s (T + B A - O) with this head.

        Args:
            adapter: factors of any rank r, or none, and the head.
            taken_out: O = L R by module, shapes (d_out, n) and (n, d_in).
            base: T by module, shape (d_out, d_in).

        """
        rank = adapter.factors.rank
        active = [self._ensure("rank", rank or 1)]
        if taken_out:
            out = next(R.shape[0] for _, R in taken_out.values())
            active.append(self._ensure("base", out))
        self._peft.base_model.set_adapter(active)
        self._active = active[0]
        parameters = self.parameters()
        self._move_base(base or {})
        with torch.no_grad():
            if not rank:
                for name in parameters:
                    if group_of(name) != "head":
                        parameters[name].zero_()
            for name, value in adapter.named_tensors().items():
                parameters[name].copy_(value)
            for name, layer in self._layers() if taken_out else ():
                L, R = taken_out[name]  # type: ignore[index]
                for side, value in ((layer.lora_B, -L), (layer.lora_A, R)):
                    side[active[1]].weight.copy_(value).requires_grad_(False)

    def install_merged(self, adapter: AdapterState) -> None:
        """Become the same model as ``install(adapter)``, with s B A inside the base.

        For evaluation: nothing is computed beside the base, whatever the rank.
        """
        base = {name: B @ A for name, (B, A) in adapter.factors.items()}
        self.install(AdapterState(LoraFactors({}), adapter.head), base=base)

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

    def _move_base(self, base: Mapping[str, Tensor]) -> None:
        """Set every base weight to W0 + s T, from a copy of W0 kept apart."""
        if not base and not self._moved:
            return
        with torch.no_grad():
            for name, layer in self._layers():
                weight = layer.get_base_layer().weight
                W0 = self._pristine.setdefault(name, weight.detach().clone())
                weight.copy_(W0)
                if name in base:
                    T = transpose(base[name], layer.fan_in_fan_out)
                    weight.add_(T.to(weight), alpha=self._settings.lora_scaling)
        self._moved = bool(base)

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
