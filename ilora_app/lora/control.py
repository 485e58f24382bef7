"""Control variates in factor coordinates: scope, change of basis, and the hook.

A control variate is a mean gradient of everything a client trains, so it is an
:class:`~ilora_app.lora.factors.AdapterState` whose tensors are gradients.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ilora_app.lora.factors import AdapterState, LoraFactors


def within_scope(state: AdapterState, scope: str) -> AdapterState:
    """Keep what is corrected: ``all``, the ``head`` alone, or the ``factors`` alone."""
    factors = state.factors if scope != "head" else LoraFactors({})
    head = state.head if scope != "factors" else {}
    return AdapterState(factors, head)


def zeros_like(state: AdapterState) -> AdapterState:
    """Build the control variate that both sides start from."""
    flat = {name: torch.zeros_like(t) for name, t in state.named_tensors().items()}
    return AdapterState.from_named_tensors(flat)


Change = Mapping[str, tuple[Tensor, Tensor]]
"""Module -> (T, T^-1) of a change of basis B' = B T, A' = T^-1 A."""


def change_of_basis(old_B: Mapping[str, Tensor], new_B: Mapping[str, Tensor]) -> Change:
    r"""T = B^+ B' by least squares, and its inverse by least squares as well.

    T^-1 = B'^+ B is the same for an exact change of basis, and bounded where the new
    basis covers an old direction only in part.

    Args:
        old_B: module -> B of shape (d_out, r).
        new_B: module -> B' of shape (d_out, r'); r' may differ from r.

    """
    found = {}
    for module, B in old_B.items():
        old, new = B.double(), new_B[module].double()
        T = torch.linalg.pinv(old) @ new  # (r, r')
        found[module] = (T, torch.linalg.pinv(new) @ old)  # (r', r)
    return found


def change_coordinates(control: AdapterState, change: Change) -> AdapterState:
    """Transform gradients: c_B' = c_B T^-T and c_A' = T^T c_A; the head is kept.

    Args:
        control: c_B of shape (d_out, r) and c_A of shape (r, d_in) by module.
        change: of the basis that it was computed in.

    """
    pairs = {}
    for module, (c_B, c_A) in control.factors.items():
        T, T_inverse = change[module]
        pairs[module] = (
            (c_B.double() @ T_inverse.T).to(c_B.dtype),
            (T.T @ c_A.double()).to(c_A.dtype),
        )
    return AdapterState(LoraFactors(pairs), control.head)


def rotate(
    control: AdapterState, old_B: Mapping[str, Tensor], new_B: Mapping[str, Tensor]
) -> AdapterState:
    """Express a control variate in the coordinates of another basis.

    Args:
        control: c_B of shape (d_out, r) and c_A of shape (r, d_in) by module.
        old_B: module -> B of shape (d_out, r) under which ``control`` was computed.
        new_B: module -> B' of shape (d_out, r'); r' may differ from r.

    """
    return change_coordinates(control, change_of_basis(old_B, new_B))


def add_deltas(total: AdapterState, deltas: Sequence[AdapterState]) -> AdapterState:
    """Add pad(c_k+ - c_k) of every client that replied to the sum of all c_k.

    Args:
        total: sum of c_k over the federation, factors at r_max.
        deltas: factors at r_k, in a fixed order.

    """
    if not deltas:
        return total
    padded = [delta.pad(total.factors.rank).named_tensors() for delta in deltas]
    return AdapterState.from_named_tensors(
        {
            name: torch.stack([value.double(), *(p[name].double() for p in padded)])
            .sum(dim=0)
            .to(value.dtype)
            for name, value in total.named_tensors().items()
        }
    )


def mean_over_members(
    total: AdapterState, member_ranks: Sequence[int], normalisation: str
) -> AdapterState:
    """c = (sum_k c_k) / N, which is c <- c + sum_k (c_k+ - c_k) / N for a constant N.

    ``all`` divides everything by the number N of federation members (ILoRA, as
    published). ``holders`` divides index j of the factors by the number of members
    with r_k >= j, so that directions which few clients hold are not shrunk. Dividing
    the sum keeps c right when members come late: theirs is still zero.

    Args:
        total: sum of c_k, factors at r_max.
        member_ranks: r_k of every member, whether it replied or not.
        normalisation: ``all`` or ``holders``.

    """
    members = float(max(len(member_ranks), 1))
    rank = total.factors.rank
    divisors = torch.full((rank,), members)  # (r_max,)
    if normalisation == "holders":
        index = torch.arange(1, rank + 1).unsqueeze(1)  # (r_max, 1)
        holders = (torch.tensor(list(member_ranks)) >= index).sum(dim=1)
        divisors = holders.clamp(min=1).float()
    pairs = {
        module: (c_B / divisors, c_A / divisors.unsqueeze(1))
        for module, (c_B, c_A) in total.factors.items()
    }
    head = {name: value / members for name, value in total.head.items()}
    return AdapterState(LoraFactors(pairs), head)


class GradientCorrection:
    """Optimizer step pre-hook: g <- g + (c - c_k), and the mean of the raw g.

    It runs before the optimizer reads the gradients, so AdamW's moments see the
    corrected gradient and its decoupled weight decay is untouched. The training loop
    sets ``examples`` to the number of examples behind the next step; the mean is
    weighted by it, and divided by batches, not by examples.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], correction: Mapping[str, Tensor]
    ) -> None:
        self._parameters = {name: parameters[name] for name in correction}
        self._correction = correction
        # float32 sums, whatever dtype is trained
        self._sums = {
            n: p.new_zeros(p.shape).float() for n, p in self._parameters.items()
        }
        self._seen = 0
        self.examples = 1

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Add the raw gradients to their mean, then correct them in place."""
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.grad is None:
                    continue
                self._sums[name].add_(parameter.grad, alpha=self.examples)
                parameter.grad.add_(self._correction[name].to(parameter))
        self._seen += self.examples

    def mean_gradient(self) -> dict[str, Tensor]:
        """Mean raw gradient over the steps so far, weighted by batch size."""
        return {name: total / max(self._seen, 1) for name, total in self._sums.items()}
