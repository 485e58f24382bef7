"""How the C library hands out memory in processes that train on a CPU.

Steps allocate and free blocks of megabytes. Pages of 4 KB make each of them thousands
of faults and misses of the processor's page table; with huge pages, and blocks that
stay in the process between steps, the same numbers come sooner.
"""

import platform
from collections.abc import Mapping

VARIABLE = "GLIBC_TUNABLES"
_MEGABYTE = 1 << 20
TUNABLES = {
    "glibc.malloc.hugetlb": 1,  # asks for huge pages where the kernel has them
    "glibc.malloc.mmap_threshold": 256 * _MEGABYTE,
    "glibc.malloc.trim_threshold": 1024 * _MEGABYTE,  # what a process may hold on to
}


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for a process that is started in an environment.

    Args:
        environment: has the last word: none of these where it names tunables or
            brings an allocator of its own.

    """
    if platform.libc_ver()[0] != "glibc":
        return {}
    if environment.get(VARIABLE) or environment.get("LD_PRELOAD"):
        return {}
    return {VARIABLE: ":".join(f"{name}={value}" for name, value in TUNABLES.items())}
