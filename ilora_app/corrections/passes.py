"""Passes of one step that are to draw the same dropout."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def draws_again(parameters: Iterable[Tensor]) -> Callable[[], None]:
    """Note what is drawn next; the result has it drawn once more.

    Two gradients of one batch differ by what lies between their places, and not by two
    masks of dropout.

    Args:
        parameters: on the devices on which it is drawn.

    """
    here = torch.get_rng_state()
    devices = {p.device for p in parameters if p.device.type == "cuda"}
    there = {device: torch.cuda.get_rng_state(device) for device in devices}

    def again() -> None:
        torch.set_rng_state(here)
        for device, state in there.items():
            torch.cuda.set_rng_state(state, device)

    return again
