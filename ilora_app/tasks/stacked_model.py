"""Several clients on one frozen model at once: their factors and heads side by side.

The base computes one batch that holds the rows of all clients; a LoRA layer adds to the
rows of client k its own s (B_k A_k - O_k) x, as one batched product over clients:

    Y_k = X_k W0^T + s (X_k A_k^T) B_k^T - s (X_k R_k^T) L_k^T,    k = 1..K

Factors are padded with zeros to the largest rank. Padding stays zero: the gradient of a
padded row of A is B^T's padded row, zero, and the other way round.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ilora_app.lora.factors import AdapterState, Pair
from ilora_app.tasks.backbone import Backbone

Offsets = Sequence[Mapping[str, Pair]]


class StackedModel:
    """What K clients train from, stacked: parameters of shape (K, ...) by flat name.

    Args:
        backbone: with the base that all clients share installed.
        starts: of the clients, whose factors may differ in rank.
        offsets: O = (L, R) by module, of each client; empty where there is none.

    """

    def __init__(
        self, backbone: Backbone, starts: Sequence[AdapterState], offsets: Offsets
    ) -> None:
        self.backbone = backbone
        self.clients = len(starts)
        self._shapes = [
            {name: value.shape for name, value in start.named_tensors().items()}
            for start in starts
        ]
        rank = max(start.factors.rank for start in starts)
        flat = [start.pad(rank).named_tensors() for start in starts]
        self.parameters = {
            name: nn.Parameter(torch.stack([f[name] for f in flat]).to(backbone.device))
            for name in flat[0]
        }
        self._offsets = _stacked_offsets(offsets, backbone)

    def of(self, client: int, stacked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One client's part of stacked tensors: views without the padding."""
        return {
            name: value[client][tuple(slice(n) for n in self._shapes[client][name])]
            for name, value in stacked.items()
        }

    def collect(self, client: int) -> AdapterState:
        """Take out what one client holds, as float32 copies on the CPU."""
        own = self.of(client, self.parameters)
        return AdapterState.from_named_tensors(
            {name: value.detach().float().cpu().clone() for name, value in own.items()}
        )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Have the model compute with the stacked factors and heads, for a while."""
        replaced: dict[nn.Module, Callable[..., Any]] = {
            layer: self._lora(name, layer) for name, layer in self.backbone.layers()
        }
        for name, wrapper in self.backbone.heads():
            replaced[wrapper] = self._head(
                name, self.backbone.adapters.head_module(wrapper)
            )
        for module, forward in replaced.items():
            module.__dict__["forward"] = forward
        try:
            yield
        finally:
            for module in replaced:
                del module.__dict__["forward"]

    def _lora(self, name: str, layer: Any) -> Callable[..., Tensor]:
        """Forward pass of an adapted layer."""
        base, scaling = layer.get_base_layer(), self.backbone.settings.lora_scaling
        drop = self.backbone.settings.lora_dropout
        B, A = self.parameters[f"{name}.lora_B"], self.parameters[f"{name}.lora_A"]
        offset = self._offsets.get(name)

        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            output = base(x, *args, **kwargs)
            rows = x.reshape(self.clients, -1, x.shape[-1])  # (K, n, d_in)
            found = output.reshape(self.clients, -1, output.shape[-1])  # (K, n, d_out)
            if offset is not None:
                found = _add(found, rows, *offset, -scaling)
            if drop and layer.training:
                rows = nn.functional.dropout(rows, drop)
            whole: Tensor = _add(found, rows, B, A, scaling)
            return whole.reshape(output.shape).to(output.dtype)

        return forward

    def _head(self, name: str, module: nn.Module) -> Callable[..., Any]:
        """Forward pass of a module of the head: each client's rows by its own."""
        prefix = f"head.{name}."
        own: dict[str, Tensor] = {
            key.removeprefix(prefix): value
            for key, value in self.parameters.items()
            if key.startswith(prefix)
        }

        def one(parameters: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> Any:
            return functional_call(module, parameters, inputs)

        each = torch.vmap(one, randomness="different")

        def forward(*inputs: Tensor) -> Any:
            split = tuple(x.reshape(self.clients, -1, *x.shape[1:]) for x in inputs)
            output: Tensor = each(own, split)
            return output.flatten(0, 1)

        return forward


def _add(y: Tensor, x: Tensor, B: Tensor, A: Tensor, scaling: float) -> Tensor:
    """Y + s X A^T B^T for every client: shapes (K, n, d_out), (K, n, d_in)."""
    low = torch.bmm(x.to(A.dtype), A.mT)  # (K, n, r)
    if torch.is_autocast_enabled(x.device.type):
        return torch.baddbmm(y, low, B.mT, alpha=scaling)
    return torch.baddbmm(y.to(B.dtype), low, B.mT, alpha=scaling)


def _stacked_offsets(offsets: Offsets, backbone: Backbone) -> dict[str, Pair]:
    """Pad L and R of all clients to one width: (K, d_out, n) and (K, n, d_in)."""
    widths = [next(iter(o.values()))[1].shape[0] if o else 0 for o in offsets]
    most, found = max(widths), {}
    for name, (d_out, d_in) in backbone.shapes().items() if most else ():
        L = torch.zeros(len(offsets), d_out, most)
        R = torch.zeros(len(offsets), most, d_in)
        for k, (offset, width) in enumerate(zip(offsets, widths, strict=True)):
            if width:
                L[k, :, :width], R[k, :width] = offset[name]
        found[name] = (L.to(backbone.device), R.to(backbone.device))
    return found
