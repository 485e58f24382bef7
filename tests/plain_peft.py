"""One start at a rank, in our backbone and in a plain model of PEFT, side by side."""

import math
from dataclasses import replace
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from ilora_app.lora.factors import MAGNITUDE, AdapterState, LoraFactors
from ilora_app.settings import ModelSettings
from ilora_app.settings.options import names
from ilora_app.tasks import sources
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone, load_pretrained
from ilora_app.tasks.private_adapter import PrivateAdapter
from ilora_app.tasks.text import tokenise
from tests.test_training import SETTINGS as DATA
from tests.test_training import label_names

LABELS = label_names(DATA, 0)
S, W = 1.5, 0.7
_BASE = "base_model.model."


class Both:
    """The two models, in float64 and without dropout, and rows.

    Args:
        folder: of the base model.
        rank: of the factors.
        private: rank of a second adapter; 0 for none.
        chosen: settings of the model; ``use_rslora`` and ``use_dora`` go to PEFT too.

    """

    def __init__(self, folder: str, rank: int, private: int = 0, **chosen: Any) -> None:
        settings = replace(
            ModelSettings(lora_scaling=S, base_dropout=False), model=folder, **chosen
        )
        self.backbone: Backbone = load_backbone.__wrapped__(settings, LABELS, 0)
        self.rslora = settings.use_rslora
        rows = sources.split(DATA, "test", 0).select(range(12))
        self.examples = tokenise(rows, DATA, LABELS, self.backbone.processor)
        plain, _ = load_pretrained(settings, LABELS, 0)
        for module in plain.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        head = list(names(self.backbone.settings.modules_to_save))
        self.peft = get_peft_model(plain, self._config(rank, 1.0, head))
        draw = torch.Generator().manual_seed(1)
        self.start = self._random(rank, draw)
        self.backbone.install(self.start)
        self.weights, active = {"default": S}, ["default"]
        self.private = None
        if private:
            self.private = PrivateAdapter(self.backbone, private, W)
            other = self._random(private, draw).factors
            self.private.install(other)
            self.peft.add_adapter("private", self._config(private, W, None))
            self.weights["private"] = S * W
            active.append("private")
        self.peft.base_model.set_adapter(active)
        self.backbone.model.double()  # the adapters were made in float32
        self.peft.double()
        self._put(self.start.factors, "default")
        if private:
            self._put(other, "private")
        self.held = dict(self.peft.named_parameters())
        with torch.no_grad():
            for name, value in self.start.head.items():
                self.theirs(f"head.{name}").copy_(value)
        self.trained = [p for p in self.held.values() if p.requires_grad]

    def theirs(self, name: str) -> nn.Parameter:
        """PEFT's parameter for one of ours, by its flat name."""
        if not name.startswith("head."):
            module, _, side = name.rpartition(".")
            return self.held[f"{_BASE}{module}.{side}.default.weight"]
        name = name.removeprefix("head.")
        if name.endswith(MAGNITUDE):
            return self.held[f"{_BASE}{name}.default.weight"]
        saved = [w for w, _ in self.backbone.heads() if name.startswith(f"{w}.")]
        rest = name.removeprefix(saved[0])
        return self.held[f"{_BASE}{saved[0]}.modules_to_save.default{rest}"]

    def compare(self, rtol: float) -> None:
        """Of every layer s B A and A, of the private ones as well, and the head."""
        ours = self.backbone.parameters()
        for module in self.backbone.shapes():
            layer = self._layer(module)
            pairs = {"default": (ours[f"{module}.lora_B"], ours[f"{module}.lora_A"])}
            if self.private:
                own = self.private.parameters()
                pairs["private"] = (
                    own[f"{module}.private_B"],
                    own[f"{module}.private_A"],
                )
            for adapter, (B, A) in pairs.items():
                whole = layer.get_delta_weight(adapter)
                near(self.weights[adapter] * B @ A, whole, rtol)
                near(A, layer.lora_A[adapter].weight, rtol)
        for name, value in ours.items():
            if name.startswith("head."):
                near(value, self.theirs(name), rtol)

    def _config(self, rank: int, weight: float, saved: Any) -> LoraConfig:
        own = self.backbone.settings
        return LoraConfig(
            r=rank,
            # Over sqrt(r), which at rank 8 is S; else over r.
            lora_alpha=weight * S * (math.sqrt(8) if self.rslora else rank),
            use_rslora=self.rslora,
            use_dora=own.use_dora,
            lora_dropout=own.lora_dropout,
            target_modules=list(names(own.target_modules)),
            modules_to_save=saved,
        )

    def _random(self, rank: int, draw: torch.Generator) -> AdapterState:
        pairs = {
            m: (
                0.1 * torch.randn(d_out, rank, generator=draw),
                0.1 * torch.randn(rank, d_in, generator=draw),
            )
            for m, (d_out, d_in) in self.backbone.shapes().items()
        }
        return AdapterState(LoraFactors(pairs), self.backbone.initial_head())

    def _put(self, factors: LoraFactors, adapter: str) -> None:
        with torch.no_grad():
            for module, (B, A) in factors.items():
                layer = self._layer(module)
                q = math.sqrt(8 / B.shape[1]) if self.rslora else 1.0
                layer.lora_B[adapter].weight.copy_(B.double() / q)
                layer.lora_A[adapter].weight.copy_(A)

    def _layer(self, module: str) -> Any:
        return self.peft.get_submodule(f"{_BASE}{module}")


def near(found: Tensor, expected: Tensor, rtol: float) -> None:
    """Compare to a part of the largest entry."""
    atol = rtol * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
