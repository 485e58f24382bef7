"""The client half of FedAdamW and FedLADA: AdamW with a direction of the federation."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ilora_app.corrections.correction import NAME, ClientCorrection
from ilora_app.corrections.directed import (
    BLOCKS,
    MOMENT,
    STEPS,
    SYNC,
    TRAVELLED,
    WEIGHT,
)
from ilora_app.corrections.moments import MEANS
from ilora_app.settings import TrainingSettings
from ilora_app.settings.method import FEDLADA

_BETAS, _EPS = (0.9, 0.999), 1e-8


class DirectedClient(ClientCorrection):
    """Client half, for one round.

    Args:
        facts: of the server's half.
        sent: its direction by flat name, and v under ``moment/``.
        returned: names of what goes back to the server.

    """

    def __init__(
        self,
        facts: Mapping[str, Any],
        sent: Mapping[str, Tensor],
        returned: Collection[str],
    ) -> None:
        self._direction = {n: v for n, v in sent.items() if not n.startswith(MOMENT)}
        self._entries = {
            n.removeprefix(MOMENT): v for n, v in sent.items() if n.startswith(MOMENT)
        }
        self._blocks: Sequence[float] = facts.get(BLOCKS, ())
        self._steps: Sequence[float] = facts[STEPS]
        self._returned, self._sync = returned, str(facts[SYNC])
        weight = float(facts[WEIGHT])
        self._weights = (1.0, weight)
        if facts[NAME] == FEDLADA:
            self._weights = (weight, 1 - weight)
        self._optimizer: DirectedAdamW | None = None
        self._parameters: Mapping[str, Tensor] = {}

    def optimizer(
        self, parameters: Mapping[str, Tensor], everything: Collection[str]
    ) -> Callable[[Iterable[Any], TrainingSettings], Optimizer]:
        """Make the optimizer of the round in the place of AdamW."""
        names = sorted(everything)
        blocks = dict(zip(names, self._blocks, strict=False))
        steps = dict(zip(names, self._steps, strict=False))
        self._parameters = parameters

        def make(groups: Iterable[Any], settings: TrainingSettings) -> Optimizer:
            self._optimizer = DirectedAdamW(groups, settings, *self._weights)
            for name, parameter in parameters.items():
                v = torch.zeros_like(parameter, dtype=torch.float32)
                if name in self._entries:
                    v.copy_(self._entries[name])
                elif blocks.get(name, -1.0) >= 0:
                    v.fill_(blocks[name])
                # Without a v there are no steps behind it.
                before = steps.get(name, 0.0) if bool(v.any()) else 0.0
                direction = self._direction.get(name)
                if direction is not None and not bool(direction.any()):
                    direction = None
                self._optimizer.begin(parameter, v, before, direction)
            return self._optimizer

        return make

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """The rates of the steps together, their number, and v."""
        assert self._optimizer is not None, "optimizer() comes first"
        found = {
            TRAVELLED: torch.tensor(self._optimizer.travelled),
            STEPS: torch.tensor(float(self._optimizer.steps)),
        }
        for name in self._returned if self._sync != "none" else ():
            v = self._optimizer.moment(self._parameters[name])
            whole = self._sync in MEANS
            found[MOMENT + name] = v.float().cpu() if whole else v.float().mean().cpu()
        return found


class DirectedAdamW(Optimizer):
    """theta <- (1 - eta lambda) theta - eta (a m^ / (sqrt(v^) + eps) + w g).

    With m^ = m / (1 - beta_1^k), v^ = v / (1 - beta_2^(t + k)), k steps in this round
    and t behind the v that it began with; a = 1 where there is no g. With a = 1, w = 0
    and t = 0 it is torch's AdamW to the last bit. The direction always has the rate of
    the factors.

    Args:
        groups: as torch's optimizers take them.
        settings: rate and weight decay.
        adaptive: a.
        directed: w.

    """

    def __init__(
        self,
        groups: Iterable[Any],
        settings: TrainingSettings,
        adaptive: float,
        directed: float,
    ) -> None:
        rate = settings.learning_rate
        usual = {"lr": rate, "eps": _EPS, "weight_decay": settings.weight_decay}
        super().__init__(groups, usual)
        self._rate, self._adaptive, self._directed = rate, adaptive, directed
        self.steps = 0

    @property
    def travelled(self) -> float:
        """Sum of the rates of all steps."""
        return self.steps * self._rate

    def begin(
        self, parameter: Tensor, v: Tensor, steps: float, direction: Tensor | None
    ) -> None:
        """Give a parameter its v, the steps behind it, and its direction."""
        state = self.state[parameter]
        state["m"], state["v"] = torch.zeros_like(parameter), v.to(parameter)
        state["t"] = steps
        state["g"] = None if direction is None else direction.to(parameter)

    def moment(self, parameter: Tensor) -> Tensor:
        """The v of a parameter."""
        found: Tensor = self.state[parameter]["v"]
        return found

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step."""
        self.steps += 1
        beta_1, beta_2 = _BETAS
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state, rate = self.state[parameter], group["lr"]
                m, v = state["m"], state["v"]
                parameter.mul_(1 - rate * group["weight_decay"])
                m.lerp_(gradient, 1 - beta_1)
                v.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
                root = math.sqrt(1 - beta_2 ** (state["t"] + self.steps))
                part = self._adaptive if state["g"] is not None else 1.0
                size = part * (rate / (1 - beta_1**self.steps))
                parameter.addcdiv_(m, (v.sqrt() / root).add_(group["eps"]), value=-size)
                if state["g"] is not None and self._directed:
                    parameter.add_(state["g"], alpha=-self._directed * self._rate)
