"""FedGLOMO (arXiv 2012.04061): momentum that reduces variance, local and global.

Client, from theta_t and again from theta_{t-1}, with the same batches:
    v_0 = g(w_0), v_j = v_{j-1} + g(w_j) - g(w_{j-1}) on one batch; steps on v_j.
Server, with A = theta_t - sum_k p_k theta_k and A' the same from theta_{t-1}, both of
factors that are padded with zeros, so that what nobody has changed cancels:
    u_t = beta A + (1 - beta) (u_{t-1} + A - A'),  theta_{t+1} = theta_t - u_t.
In the first round u = A.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.corrections.correction import (
    NAME,
    ClientCorrection,
    Correction,
    Holder,
    Returned,
)
from ilora_app.corrections.passes import draws_again
from ilora_app.corrections.shapes import Flat, keep_rank, weighted_total
from ilora_app.lora.factors import AdapterState, LoraFactors
from ilora_app.settings.method import FEDGLOMO

BETA = "fedglomo-beta"


class FedGLOMO(Correction):
    """Server half.

    Args:
        beta: of the global momentum; 1 takes the mean of the clients.

    """

    name = FEDGLOMO
    follows = True

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self._previous: dict[str, Tensor] = {}
        self._u: dict[str, Tensor] = {}
        self._old: dict[str, Tensor] = {}
        self._trained: set[str] = set()

    def begin(self, adapter: AdapterState) -> None:
        """Start without momentum."""
        self._previous, self._u, self._old = {}, {}, {}

    def broadcast(
        self, holders: Sequence[Holder], received: LoraFactors
    ) -> AdapterState | None:
        """theta_{t-1} at r_max; None in round 1, and where it does not count."""
        if not self._previous or self.beta == 1:
            return None
        return AdapterState.from_named_tensors(self._previous)

    def facts(self) -> dict[str, str | float | list[float]]:
        """Its name, and beta."""
        return {NAME: self.name, BETA: self.beta}

    def expects(self, sent: Flat, returned: Flat) -> Flat:
        """How far a client went from theta_{t-1}, where it was sent that."""
        return {name: v for name, v in returned.items() if name in sent}

    def aggregate(self, found: Returned) -> None:
        """Take -A' of the round, and what has trained in it."""
        self._old = {}
        self._trained = {name for part in found.moved.values() for name in part}
        ones = {
            node: {name: torch.ones_like(value) for name, value in part.items()}
            for node, part in found.uploads.items()
        }
        for name, like in self._previous.items():
            total = weighted_total(found.uploads, found.weights, name, like)
            held = weighted_total(ones, found.weights, name, like)
            if total is None or held is None:
                continue
            lost = like * (1 - held)
            if name.endswith(".lora_A"):  # a direction that nobody held keeps its A
                lost[held == 0] = 0
            self._old[name] = total - lost

    def step(self, before: AdapterState, mean: AdapterState) -> AdapterState:
        """theta_t - u_t; a tensor that did not train keeps its u for its next turn."""
        theta, flat = before.named_tensors(), dict(mean.named_tensors())
        for name in self._trained & flat.keys():
            value = flat[name]
            A = theta[name].double() - value.double()
            u = A
            if name in self._u and name in self._old and self.beta < 1:
                held = self._u[name].double() + A + self._old[name]
                u = self.beta * A + (1 - self.beta) * held
                flat[name] = (theta[name].double() - u).to(value.dtype)
            self._u[name] = u
        # Where factors take turns, as it was before the last one of each.
        stays = (self._previous.keys() - self._trained) & theta.keys()
        kept = {name: self._previous[name] for name in stays}
        self._previous = {name: v.clone() for name, v in theta.items()} | kept
        return AdapterState.from_named_tensors(flat)

    def saved(self, names: Mapping[int, str]) -> tuple[dict[str, Flat], dict[str, Any]]:
        """theta_{t-1} and u, for a checkpoint."""
        return {"previous": self._previous, "momentum": self._u}, {}

    def load(
        self,
        saved: Mapping[str, Flat],
        taken: Mapping[str, Any],
        nodes: Mapping[str, int],
    ) -> None:
        """Go on from what :meth:`saved` gave; :meth:`begin` comes first."""
        self._previous = dict(saved.get("previous", {}))
        self._u = dict(saved.get("momentum", {}))

    def __str__(self) -> str:
        return f"{self.name} (beta {self.beta:g})"


class FedGLOMOClient(ClientCorrection):
    """Client half, for one round.

    Args:
        sent: theta_{t-1} by flat name; empty in round 1.
        start: what training starts from.
        returned: names of what goes back to the server.

    """

    def __init__(
        self, sent: Flat, start: AdapterState, returned: Collection[str]
    ) -> None:
        self._sent, self._start, self._returned = sent, start, returned
        self._went: dict[str, Tensor] = {}

    def again(self) -> AdapterState | None:
        """theta_{t-1}, from which the client trains once more; None in round 1."""
        if not self._sent:
            return None
        return AdapterState.from_named_tensors(
            {**self._start.named_tensors(), **self._sent}
        )

    def trained_again(self, end: AdapterState) -> None:
        """Note where training from :meth:`again` has ended."""
        flat = end.named_tensors()
        known = [name for name in self._returned if name in self._sent]
        self._went = {name: flat[name] - self._sent[name] for name in known}

    def gradient(
        self, parameters: Mapping[str, Tensor]
    ) -> Callable[[Callable[[], Tensor]], Tensor]:
        """Make what runs the passes of a step and leaves v_j as the gradient."""
        v: dict[str, Tensor] = {}
        last: dict[str, Tensor] = {}

        def gradients() -> dict[str, Tensor]:
            found = {n: p.grad for n, p in parameters.items() if p.grad is not None}
            for p in parameters.values():
                p.grad = None
            return found

        def run(backward: Callable[[], Tensor]) -> Tensor:
            again = draws_again(parameters.values())
            loss = backward()
            now = gradients()
            here = {name: p.detach().clone() for name, p in parameters.items()}
            before: Flat = {}
            if last:
                _put(parameters, last)
                again()
                backward()
                before = gradients()
                _put(parameters, here)
            for name, g in now.items():
                v[name] = v[name] + g - before[name] if name in before else g
                parameters[name].grad = v[name].clone()
            last.update(here)
            return loss

        return run

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """How far it went from theta_{t-1}."""
        if rank is None:
            return self._went
        return {name: keep_rank(name, v, rank) for name, v in self._went.items()}


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], values: Flat) -> None:
    for name, p in parameters.items():
        p.copy_(values[name])
