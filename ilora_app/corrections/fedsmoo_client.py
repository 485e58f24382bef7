"""The client half of FedSMOO: mu, h, and the gradient of a step."""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from ilora_app.corrections.client_variate import ClientVariate
from ilora_app.corrections.correction import ClientCorrection
from ilora_app.corrections.memory import ClientMemory
from ilora_app.corrections.passes import draws_again
from ilora_app.corrections.shapes import Flat, cut, fit, keep_rank
from ilora_app.lora.factors import AdapterState

_H, _MU = "fedsmoo-h", "fedsmoo-mu"


class FedSMOOClient(ClientCorrection):
    """Client half, for one round.

    Args:
        rho, weight: of the server.
        sent: s by flat name; empty in round 1.
        start: what training starts from.
        returned: names of what goes back to the server.
        memory: what this client keeps.
        server_round: this round.
        last_taken: round in which the server last took this client's upload.

    """

    def __init__(
        self,
        rho: float,
        weight: float,
        sent: Flat,
        start: AdapterState,
        returned: Collection[str],
        memory: ClientMemory,
        server_round: int,
        last_taken: int,
    ) -> None:
        self._rho, self._weight, self._memory = rho, weight, memory
        flat = start.named_tensors()
        self._start, self._shift = {n: flat[n] for n in returned}, sent
        self._received, self._round = start.factors, server_round
        self._variate = ClientVariate(memory, "keep", _H)
        self.lost = not self._variate.settle(last_taken)
        self._h = self._variate.recall(self._start, self._received)
        self._kept: Flat = memory.tensors(_MU) or {}
        self._mu = {
            name: fit(self._kept[name], like.shape)
            if name in self._kept
            else torch.zeros_like(like)
            for name, like in self._start.items()
        }
        self._parameters: Mapping[str, Tensor] = {}

    def gradient(
        self, parameters: Mapping[str, Tensor]
    ) -> Callable[[Callable[[], Tensor]], Tensor]:
        """Make what runs the passes of a step and leaves the regularised gradient."""
        own = {name: p for name, p in parameters.items() if name in self._start}
        self._parameters = own
        h = {name: self._h[name].to(p.device) for name, p in own.items()}
        start = {name: p.detach().clone() for name, p in own.items()}
        shift = {
            n: self._shift[n].to(p.device) for n, p in own.items() if n in self._shift
        }
        self._mu = {name: self._mu[name].to(p.device) for name, p in own.items()}

        def run(backward: Callable[[], Tensor]) -> Tensor:
            again = draws_again(parameters.values())
            loss = backward()
            if self._rho:
                self._perturbed(backward, again, shift, parameters)
            with torch.no_grad():
                for name, p in own.items() if self._weight else ():
                    if p.grad is not None:
                        p.grad.add_((p - start[name]) + h[name], alpha=self._weight)
            return loss

        return run

    def _perturbed(
        self,
        backward: Callable[[], Tensor],
        again: Callable[[], None],
        shift: Flat,
        parameters: Mapping[str, Tensor],
    ) -> None:
        """Take the gradient at theta + e, and move mu.

        Args:
            backward: adds the gradient at a place.
            again: has it draw what it drew before.
            shift: s.
            parameters: all that train, also those that stay with the client.

        """
        own = {n: p for n, p in self._parameters.items() if p.grad is not None}
        with torch.no_grad():
            q = {}
            for name, p in own.items():
                q[name] = p.grad - self._mu[name]  # type: ignore[operator]
                if name in shift:
                    q[name] -= shift[name]
            norm = torch.stack([value.square().sum() for value in q.values()]).sum()
            scale = self._rho / norm.sqrt().clamp(min=1e-12)
            before = {name: p.detach().clone() for name, p in own.items()}
            for name, p in own.items():
                e = scale * q[name]
                self._mu[name] = self._mu[name] + e - shift.get(name, 0.0)
                p.add_(e)
            for p in parameters.values():
                p.grad = None
        again()
        backward()
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(before[name])

    def finish(
        self,
        full_gradient: Mapping[str, Tensor] | None = None,
        rank: int | None = None,
    ) -> dict[str, Tensor]:
        """Keep mu, and h aside until the server has taken it; mu goes up."""
        ends = {n: p.detach().float().cpu() for n, p in self._parameters.items()}
        mu = {name: value.float().cpu() for name, value in self._mu.items()}
        fresh = {
            name: self._h[name] + (v - self._start[name]) for name, v in ends.items()
        }
        if rank is not None:
            mu = {name: keep_rank(name, value, rank) for name, value in mu.items()}
            fresh = cut(fresh, rank)
        self._variate.keep_pending(fresh, self._received, self._round)
        # A factor without a turn keeps its mu for the next one.
        self._memory.keep_tensors(_MU, {**self._kept, **mu})
        return mu
