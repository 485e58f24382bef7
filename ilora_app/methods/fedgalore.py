"""FedGaLore (arXiv 2602.01746): projected steps, aggregated in the full space.

Neither code nor the text of its algorithm is public. Established are gradient-subspace
steps as GaLore's on the clients, aggregation in the full space, and second moments that
the server puts together by their joint part (AJIVE). All else here is a [choice]:
see :mod:`ilora_app.lora.projector` and
:class:`~ilora_app.corrections.second_moments.SecondMoments`.
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.lora.ledger import Ledger
from ilora_app.lora.projector import (
    frozen,
    is_right,
    paired,
    projector,
    random_projectors,
    refreshed,
)
from ilora_app.methods.client import ClientHalf, Upload
from ilora_app.methods.in_base import InBase
from ilora_app.methods.state import (
    Aggregate,
    GlobalState,
    Plan,
    Share,
    UncheckedUpload,
    Update,
    UploadError,
    weights_of,
)
from ilora_app.settings import Settings

_ROUNDING = 1e-3


class FedGaLoreClient(ClientHalf):
    """Trains in the coordinates of the projector, and sketches the gradients."""

    @classmethod
    def frozen(cls, tensors: Mapping[str, Tensor]) -> Collection[str]:
        """The factors that hold a projector."""
        return frozen(tensors)

    def watcher(self, tensors: Mapping[str, Tensor]) -> "GradientSums":
        """Adds up the gradients of the projectors, which no step follows."""
        self._sums = GradientSums({name: tensors[name] for name in frozen(tensors)})
        return self._sums

    def finish(self, start: AdapterState, trained: AdapterState, rank: int) -> Upload:
        """What was learned, and a sketch of norm 1 of every layer's gradients.

        The gradient of the frozen factor is s M_j^T G_j for a right projector and
        s G_j M_j^T for a left one, M_j being what the round had learned before step j.
        """
        held = trained.named_tensors()
        frozen_names = frozen(held)
        tensors = {name: v for name, v in held.items() if name not in frozen_names}
        sketches = {}
        for module, pair in trained.factors.items():
            side = "lora_A" if is_right(pair) else "lora_B"
            total = self._sums.total(f"{module}.{side}")
            rows = total if is_right(pair) else total.T
            sketches[module] = rows / rows.norm().clamp(min=1e-30)
        return Upload(tensors, rank, extra=sketches)


class GradientSums:
    """Adds up gradients of parameters that an optimizer does not hold."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = parameters
        self._sums = {n: torch.zeros_like(p).float() for n, p in parameters.items()}
        self.examples = 1

    def attach(self, optimizer: Optimizer) -> None:
        """Run at every step of an optimizer."""
        for parameter in self._parameters.values():
            parameter.requires_grad_()
            parameter.grad = None
        optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: Optimizer, *_: Any) -> None:
        """Take the gradients of a step; those that are not finite are left out."""
        for name, parameter in self._parameters.items():
            found, parameter.grad = parameter.grad, None
            if found is not None and bool(found.isfinite().all()):
                self._sums[name] += found

    def total(self, name: str) -> Tensor:
        """The sum for a parameter, on the CPU."""
        return self._sums[name].detach().cpu()


class FedGaLore(InBase):
    r"""W <- W + s sum_k p_k M_k P, from M_k = 0; the next P from the gradients.

    Every client takes AdamW's steps on G P^T (on P G where d_out < d_in) with the
    server's P cut to its first r_k rows. The mean of the clients' updates is exact for
    any ranks, as they share P, and goes into the base ledger. Decoupled weight decay
    acts on M, the update of the round, and not on W0.

    Every ``refresh_every`` rounds P becomes the leading right singular vectors of
    sum_k p_k S_k, the clients' sketches of their gradients, each of norm 1. Before the
    first refresh, after round 1, P is random, and with a single local step it always
    is. A P taken from the last global update would never leave the span of the first
    one, as that update is M P.

    Args:
        refresh_every: rounds that a projector is kept for; 0 keeps the first.

    """

    client_half = FedGaLoreClient
    setting_keys = frozenset({"galore-refresh-every"})
    control_scopes = ("head",)
    control_refusal = (
        "fedgalore begins every round with factors of zero, in the coordinates of "
        "projectors that change, so a control variate of the factors means nothing a "
        "round later: control-scope = 'head' is what remains"
    )
    projects = True

    def __init__(self, refresh_every: int = 1) -> None:
        self.refresh_every = refresh_every

    @classmethod
    def options(cls, settings: Settings) -> dict[str, Any]:
        """The rounds between two projectors."""
        return {"refresh_every": settings.method.galore_refresh_every}

    @classmethod
    def problems(cls, settings: Settings) -> dict[str, str]:
        """Gradients of the projectors are of no optimizer that float16 could scale."""
        if settings.model.dtype != "float16":
            return {}
        right = "expected bfloat16 or float32, as fedgalore adds up gradients"
        return {"dtype": f"dtype = 'float16': {right} that float16 scales"}

    def details(self) -> dict[str, object]:
        """When projectors change."""
        every = self.refresh_every
        again = "never" if not every else f"after round 1, {1 + every}, ..."
        return {"Projectors": f"taken anew {again}"}

    def begin(self, initial: AdapterState) -> GlobalState:
        """Start at W0, with random projectors in the frozen factors."""
        factors = random_projectors(initial.factors)
        return GlobalState(AdapterState(factors, initial.head), ledger=Ledger())

    def plan(self, state: GlobalState) -> Plan:
        """Projectors go down when they have changed; what was learned comes up."""
        rights = {is_right(pair) for _, pair in state.adapter.factors.items()}
        sides = {True: "lora_B", False: "lora_A"}
        groups = (*(sides[right] for right in sorted(rights)), "head")
        return Plan(trains=groups, up=groups, kept=("lora_B", "lora_A"))

    def extra(
        self, sent: Share, plan: Plan, rank: int, upload: UncheckedUpload
    ) -> dict[str, Tensor]:
        """The sketches, shape (r_k, d) by module; none may have a norm above 1."""
        pairs = sent.adapter.factors.pairs
        found = upload.extra({m: projector(pair) for m, pair in pairs.items()})
        for module, sketch in found.items():
            if float(sketch.double().norm()) > 1 + _ROUNDING:
                raise UploadError(f"extra: {module} has norm {float(sketch.norm()):g}")
        return found

    def aggregate(self, state: GlobalState, updates: list[Update]) -> Aggregate:
        """Append the mean update to the base; new projectors where they are due."""
        weights, before = weights_of(updates), state.adapter.factors
        step = {m: [torch.zeros_like(F).double() for F in p] for m, p in before.items()}
        for update, weight in zip(updates, weights, strict=True):
            for module, pair in update.adapter.factors.pad(before.rank).items():
                side = 0 if is_right(pair) else 1
                step[module][side] += weight * pair[side].double()
        mean = {
            m: (learned[0].float(), before[m][1])
            if is_right(before[m])
            else (before[m][0], learned[1].float())
            for m, learned in step.items()
        }
        factors = self._next(state, updates, weights)
        return self.append(state, updates, [LoraFactors(mean)], [1.0], factors)

    def _next(
        self, state: GlobalState, updates: list[Update], weights: list[float]
    ) -> LoraFactors:
        """The projectors of the next round."""
        before, every = state.adapter.factors, self.refresh_every
        if not every or state.step % every:
            return before
        found, draw = {}, torch.Generator().manual_seed(state.step)
        for module, pair in before.items():
            P = projector(pair)
            sketch = torch.zeros(P.shape, dtype=torch.float64)
            for update, weight in zip(updates, weights, strict=True):
                rows = update.extra[module]
                sketch[: len(rows)] += weight * rows.double()
            found[module] = paired(refreshed(P, sketch, draw), pair)
        return LoraFactors(found)
