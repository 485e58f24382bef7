"""Processes that train get huge pages, where nobody has said otherwise."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ilora_app.launch import allocator

GLIBC = platform.libc_ver()[0] == "glibc"
FAULTS = """
import resource
import torch

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4_000_000)  # 16 MB
        torch.ones(16_000_000)  # 64 MB, beyond what malloc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def test_what_a_user_has_set_stays():
    assert allocator.settings({allocator.VARIABLE: "glibc.malloc.check=3"}) == {}
    assert allocator.settings({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}) == {}


@pytest.mark.skipif(not GLIBC, reason="this machine has another C library")
def test_what_one_sets_by_hand_is_the_same():
    text = (Path(__file__).parent.parent / "docs" / "performance.md").read_text()
    value = allocator.settings({})[allocator.VARIABLE]
    assert f"export {allocator.VARIABLE}={value}\n" in text


def test_other_c_libraries_get_nothing(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert allocator.settings({}) == {}


@pytest.mark.skipif(not GLIBC, reason="this machine has another C library")
def test_the_c_library_takes_them():
    """Blocks that come again are not asked of the kernel again."""
    counts = []
    plain = {k: v for k, v in os.environ.items() if k != allocator.VARIABLE}
    for more in ({}, allocator.settings({})):
        words = [sys.executable, "-c", FAULTS]
        made = subprocess.run(words, env=plain | more, capture_output=True, check=True)
        counts.append(int(made.stdout))
    assert counts[1] * 10 < counts[0]
