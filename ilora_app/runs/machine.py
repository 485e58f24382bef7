"""What a run was made with: versions of packages, and the processor."""

import os
import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from ilora_app.settings import parsing

_PACKAGES = ("ilora", "flwr", "torch", "transformers", "peft", "ray")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def hardware() -> str:
    """Model of the processor and the number of cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    if names:
        model = " ".join(names[0].split())
    return f"{model}, {parsing.count(os.cpu_count() or 1, 'core')}"
