"""The frozen model, loaded once a process: put factors in, take factors out."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from ilora_app.lora.factors import AdapterState, LoraFactors, Pair, group_of
from ilora_app.lora.initialisation import qr_directions
from ilora_app.settings import ModelSettings
from ilora_app.tasks import fit, models, modules
from ilora_app.tasks.adapters import OFFSET, SHARED, Adapters
from ilora_app.tasks.fingerprint import fingerprint
from ilora_app.tasks.frozen_layers import BELOW, FrozenLayers
from ilora_app.tasks.merging import MergedBase


class Backbone:
    """A pretrained model with PEFT's LoRA layers.

    A layer computes W0 x + s (T + B A - O) x. B A is a trainable PEFT adapter of the
    client's rank; O, what the QR start took out of the base, is a second adapter that
    stays frozen; so one model in memory serves clients of every rank. T, what a
    federation has merged into the base, is the part of :class:`MergedBase`. With DoRA
    the rows of W0 + s B A have the lengths m, and there is no O and no T.
    """

    def __init__(
        self, model: PreTrainedModel, processor: Any, settings: ModelSettings
    ) -> None:
        problems = fit.problems(model, settings)
        if problems:
            raise models.ModelError.openly("\n".join(problems))
        self.processor = processor
        self.settings = settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = getattr(torch, settings.dtype)
        self._directions: dict[int, LoraFactors] = {}
        self._quantised = settings.quantisation != "none"
        self.fingerprint = fingerprint(model)
        tied = modules.tied(model)
        self.fused = modules.transposed(model, settings)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.config.use_cache = False
        self._extra = modules.forward_options(model, settings)
        self.adapters = Adapters(model, settings, self.fused, self.device)
        self._peft = self.adapters.peft
        if settings.gradient_checkpointing:
            # PEFT's hook, for passes that are run again in the old way alone: it takes
            # what embeddings return for a tensor, and Swin's return two.
            model.disable_input_require_grads()
        self.model: nn.Module = self._peft
        layers = dict(self.layers())
        apart = set(layers) if self._quantised else tied & set(layers)
        self._merged = MergedBase(layers, settings.lora_scaling, self._dtype, apart)
        found = self.adapters.magnitudes()  # B A = 0: they are those of W0
        self._lengths = {n: m.detach().float().cpu().clone() for n, m in found.items()}
        whole = [wrapper for _, wrapper in self.heads()]
        self.frozen = FrozenLayers.below(model, list(layers), whole)

    @property
    def config(self) -> Any:
        """transformers' config of the model, with the names of the classes."""
        return self._peft.config

    @property
    def longest(self) -> int:
        """Tokens that the model has positions for."""
        return modules.positions(self._peft, self.processor)

    def base_weights(self) -> Iterator[tuple[str, Tensor]]:
        """W0 of every adapted layer, one after the other: shape (d_out, d_in).

        A quantised layer is dequantised here, so only one is whole in memory.
        """
        for name, _ in self.layers():
            yield name, self._merged.original(name)

    def shapes(self) -> dict[str, tuple[int, int]]:
        """(d_out, d_in) of every adapted layer."""
        return {n: (a.out_features, a.in_features) for n, a in self.layers()}

    def forward(self, batch: Mapping[str, Tensor]) -> Any:
        """Run the model on a batch from anywhere: transformers' output, with a loss."""
        moved = {key: value.to(self.device) for key, value in batch.items()}
        hidden = moved.pop(BELOW, None)
        given: AbstractContextManager[None] = nullcontext()
        if self.frozen and hidden is not None:
            given = self.frozen.given(hidden)
        with given, self._casting():
            return self.model(**moved, **self._extra)

    def below(self, batch: Mapping[str, Tensor]) -> Any:
        """What the frozen layers make of a batch, without dropout."""
        moved = {k: v.to(self.device) for k, v in batch.items() if k != "labels"}
        with self._casting():
            return self.frozen.compute(moved, self._extra) if self.frozen else None

    def generate(self, tokens: Tensor, mask: Tensor, most: int) -> Tensor:
        """Go on greedily from prompts (batch, length); for a decoder, padded left."""
        with self._casting():
            written: Tensor = self._peft.generate(
                input_ids=tokens.to(self.device),
                attention_mask=mask.to(self.device),
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=self.processor.pad_token_id,
            )
        return written.cpu()

    def directions(self, rank: int) -> LoraFactors:
        """Leading QR directions of W0, as every node of the federation computes them.

        Kept by rank: cutting a larger set instead would make the last bit depend on
        which clients this process has served before.
        """
        found = self._directions.get(rank)
        if found is None:
            found = self._directions[rank] = qr_directions(self.base_weights(), rank)
        return found

    def initial_head(self) -> dict[str, Tensor]:
        """The head as it was loaded, by ``<module>.<parameter>``, and magnitudes."""
        found = {
            f"{name}.{key}": value.detach().float().cpu().clone()
            for name, wrapper in self.heads()
            for key, value in wrapper.original_module.named_parameters()
        }
        return found | {name: m.clone() for name, m in self._lengths.items()}

    def install(
        self,
        adapter: AdapterState,
        offset: Mapping[str, Pair] | None = None,
        base: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Become the model W0 + s (T + B A - O) with this head.

        Args:
            adapter: factors of any rank r, or none, and the head.
            offset: O = L R by module, shapes (d_out, n) and (n, d_in).
            base: T by module, shape (d_out, d_in).

        Raises:
            ValueError: a tensor has another shape; or with DoRA, whose magnitudes are
                those of W0 + s B A, one of them is absent, or there is O or T.

        """
        if self._lengths and (
            offset or base or not self._lengths.keys() <= adapter.head.keys()
        ):
            raise ValueError(
                "DoRA: expected magnitudes for all layers, and W0 as it is"
            )
        rank = adapter.factors.rank
        active = [self.adapters.ensure(SHARED, rank or 1)]
        if offset:
            out = next(R.shape[0] for _, R in offset.values())
            active.append(self.adapters.ensure(OFFSET, out))
        self.adapters.activate(active)
        parameters = self.parameters()
        self._merged.put(base or {})
        with torch.no_grad():
            for name in parameters if not rank else ():
                if group_of(name) != "head":
                    parameters[name].zero_()
            for name, value in adapter.named_tensors().items():
                held = parameters[name]
                if value.shape != held.shape:  # copy_ would broadcast
                    shapes = tuple(value.shape), tuple(held.shape)
                    raise ValueError(f"{name}: shape %s, expected %s" % shapes)
                held.copy_(value)
            for name, layer in self.layers() if offset else ():
                L, R = offset[name]  # type: ignore[index]
                for side, value in ((layer.lora_B, -L), (layer.lora_A, R)):
                    side[active[1]].weight.copy_(value)

    def install_merged(self, adapter: AdapterState) -> None:
        """Become the same model as ``install(adapter)``, with s B A inside the base.

        For evaluation: nothing is computed beside the base, whatever the rank. A
        quantised base takes nothing in, and keeps the factors beside it, as DoRA does.
        """
        if self._quantised or self._lengths:
            return self.install(adapter)
        base = {name: B @ A for name, (B, A) in adapter.factors.items()}
        return self.install(AdapterState(LoraFactors({}), adapter.head), base=base)

    def collect(self) -> AdapterState:
        """Take out what is trained, as float32 copies on the CPU."""
        found = {n: p.detach().cpu() for n, p in self.parameters().items()}
        copies = {name: value.float().clone() for name, value in found.items()}
        return AdapterState.from_named_tensors(copies)

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained now, under the names of ``AdapterState.named_tensors``."""
        return self.adapters.parameters()

    def head_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Every module of the head as it is, by the name of its parameters."""
        for name, wrapper in self.heads():
            for key, module in self.adapters.head_module(wrapper).named_modules():
                yield f"{name}.{key}".removesuffix("."), module

    def _casting(self) -> AbstractContextManager[Any]:
        """Compute in the dtype of the frozen model."""
        half = self._dtype != torch.float32
        return torch.autocast(self.device.type, self._dtype, enabled=half)

    def layers(self) -> list[tuple[str, LoraLayer]]:
        """PEFT's adapted layers by module name."""
        return self.adapters.layers()

    def heads(self) -> list[tuple[str, ModulesToSaveWrapper]]:
        """PEFT's wrappers of the head by module name."""
        return self.adapters.heads()
