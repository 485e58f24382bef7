"""Times of two calls that take turns."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

CUDA = torch.cuda.is_available()


def seconds(call: Callable[[], Any]) -> float:
    """Time a call, with what it left the GPU to do."""
    if CUDA:
        torch.cuda.synchronize()
    clock = time.perf_counter()
    call()
    if CUDA:
        torch.cuda.synchronize()
    return time.perf_counter() - clock


def paired(
    one: Callable[[], Any], other: Callable[[], Any], turns: int
) -> tuple[float, float, float]:
    """Seconds of two calls that take turns, after one turn to warm up.

    Which goes first changes from turn to turn.

    Returns:
        Medians of the first and of the second, and of second / first turn by turn.

    """
    times = []
    for turn in range(turns + 1):
        if turn % 2:
            b, a = seconds(other), seconds(one)
        else:
            a, b = seconds(one), seconds(other)
        times.append((a, b))
    times = times[1:]
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    return first, second, statistics.median(b / a for a, b in times)
