"""Random numbers that nobody can draw again, of the operating system's randomness.

No seed: noise that can be drawn again can be taken away again, and rows that somebody
knows to be in a batch are not hidden by having been drawn.
"""

import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

Draw = Callable[[Sequence[int]], Tensor]
"""Makes standard normal numbers of a shape."""

Choose = Callable[[int, float], list[int]]
"""Draws rows: of so many, each with a probability."""


def gaussian(shape: Sequence[int]) -> Tensor:
    """Standard normal numbers: Phi^-1((i + 1/2) / 2^53) for 53 random bits i."""
    return torch.from_numpy(ndtri(_uniform(math.prod(shape)))).reshape(tuple(shape))


def chosen(count: int, rate: float) -> list[int]:
    """Poisson sampling: each of ``count`` rows by itself with probability ``rate``."""
    return [int(i) for i in np.flatnonzero(_uniform(count) < rate)]


def unforeseen() -> int:
    """A seed for a generator that takes one."""
    return int.from_bytes(os.urandom(8), "big") >> 1


def _uniform(count: int) -> NDArray[np.float64]:
    """Numbers of (0, 1), without its ends."""
    bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64) >> 11
    return np.asarray((bits + 0.5) * 2.0**-53)
