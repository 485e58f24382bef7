"""How long fuzzers run: a fixed few examples each, or random ones until time is up.

``ILORA_FUZZ_MINUTES=60 pytest tests/fuzz`` has an hour, in equal parts for all tests
that are run; a failing example is printed as it can be replayed.
"""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, seed, settings

from tests.local_run import run

MINUTES = float(os.environ.get("ILORA_FUZZ_MINUTES") or 0)

settings.register_profile(
    "fuzz",
    derandomize=not MINUTES,
    database=None,
    deadline=None,
    max_examples=25,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function):
    """Call a fuzzer once, or with one random seed after the other."""
    fuzzers = [i for i in pyfuncitem.session.items if _is_fuzzer(i)]
    if not MINUTES or not _is_fuzzer(pyfuncitem):
        return (yield)
    end = time.monotonic() + 60 * MINUTES / len(fuzzers)
    arguments = {n: pyfuncitem.funcargs[n] for n in pyfuncitem._fixtureinfo.argnames}
    while time.monotonic() < end:
        number = random.SystemRandom().getrandbits(64)
        seed(number)(pyfuncitem.obj)(**arguments)
    return (yield)


def _is_fuzzer(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and hasattr(item.obj, "hypothesis")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config) -> Path:
    """The folder of a run of two rounds, with checkpoints, best round and adapters."""
    folder = tmp_path_factory.mktemp("fuzz") / "run"
    config = tiny_config | {"output-dir": str(folder), "report": False}
    return run(config | {"strategy": "ilora"})[0]
