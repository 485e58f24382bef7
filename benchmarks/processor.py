"""Seconds of the processor, and memory, that a call takes; on Linux."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds(call: Callable[[], Any], turns: int = 1) -> float:
    """Median seconds of the processor."""
    times = []
    for _ in range(turns):
        clock = time.process_time()
        call()
        times.append(time.process_time() - clock)
    return statistics.median(times)


def peak(call: Callable[[], Any]) -> int:
    """Bytes by which memory grows at most during a call."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _memory("VmRSS")
    call()
    return 1024 * (_memory("VmHWM") - before)


def _memory(name: str) -> int:
    """KiB, from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
