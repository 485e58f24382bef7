"""The machine: devices, memory, folders and the room on their disks."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ilora_app.doctor.finding import OK, PROBLEM, WARNING, Finding
from ilora_app.runs.places import RUNS
from ilora_app.settings import options

GB = 1e9
# Below these a run of the smallest model fails, or one of a usual model may.
_MEMORY = (1.5 * GB, 4 * GB)
_DISK = (0.5 * GB, 5 * GB)
_SHARED = 0.5 * GB


def devices() -> Iterator[Finding]:
    """What torch sees."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = cores or os.cpu_count()
    yield Finding("CPU", OK, f"{cores} core{'s' if cores != 1 else ''}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(number)
            free, total = torch.cuda.mem_get_info(number)
            found = f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free"
            advice = "" if free > GB else "other processes use it: nvidia-smi"
            yield Finding(f"GPU {number}", WARNING if advice else OK, found, advice)
    elif Path("/proc/driver/nvidia/version").exists():
        found = f"there is an NVIDIA driver, and torch {torch.__version__} sees no GPU"
        advice = "install a CUDA build of torch: https://pytorch.org/get-started"
        yield Finding("GPU", WARNING, found, advice)
    else:
        yield Finding("GPU", OK, "none: training runs on the CPU")


def memory() -> Iterator[Finding]:
    """What is free, a container's limit included."""
    import torch

    from ilora_app.node.auto_rank import free_memory

    free = free_memory(torch.device("cpu"))
    advice = "fewer clients at a time: ilora run --cpus 2, or more memory"
    yield _room("memory", free, f"{free / GB:.1f} GB free", _MEMORY, advice)


def folders() -> Iterator[Finding]:
    """Folders that are written to, and the room there."""
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    for name, value in (
        ("runs", RUNS),
        ("models and data", cache),
        ("Flower", os.environ.get("FLWR_HOME", "~/.flwr")),
        ("temporary files", os.environ.get("TMPDIR", "/tmp")),
    ):
        yield folder(name, options.folder(value))


def folder(name: str, path: Path) -> Finding:
    """One folder: it can be made and written to, and has room."""
    there = next(part for part in (path, *path.parents) if part.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        advice = f"give yourself the right to write to {there}"
        return Finding(name, PROBLEM, f"{path}: {there} cannot be written to", advice)
    free = shutil.disk_usage(there).free
    advice = "make room: ilora runs list, ilora runs rm"
    return _room(name, free, f"{path}, {free / GB:.1f} GB free", _DISK, advice)


def shared_memory() -> Iterator[Finding]:
    """Where Ray keeps its objects; containers have 64 MB there unless told."""
    place = Path("/dev/shm")
    if place.is_dir():
        free = shutil.disk_usage(place).free
        small = free < _SHARED
        advice = "docker run --shm-size=2g: Ray is slow without" if small else ""
        found = f"/dev/shm, {free / GB:.1f} GB free"
        yield Finding("shared memory", WARNING if small else OK, found, advice)


def _room(
    name: str, free: float, found: str, bounds: tuple[float, float], advice: str
) -> Finding:
    if free < bounds[0]:
        return Finding(name, PROBLEM, found, advice)
    if free < bounds[1]:
        return Finding(name, WARNING, found, advice)
    return Finding(name, OK, found)
