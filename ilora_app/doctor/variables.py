"""Environment variables of the app."""

import difflib
import os
from collections.abc import Iterator

from ilora_app.doctor.finding import OK, PROBLEM, WARNING, Finding
from ilora_app.doctor.machine import folder
from ilora_app.settings import options

_PREFIX = "ILORA_"
# Those that name a folder to read, those that name one to write, and the others.
_READ, _WRITTEN = ("ILORA_SHARED", "ILORA_MODELS"), ("ILORA_STATE", "ILORA_RUNS")
_OTHERS = (
    "ILORA_BASE", "ILORA_BIND", "ILORA_BROWSER", "ILORA_CACHE", "ILORA_EXTRAS",
    "ILORA_KEYS", "ILORA_NODE", "ILORA_PORT", "ILORA_SUPERLINK", "ILORA_TEST_DATA",
    "ILORA_TORCH_INDEX", "ILORA_UID",
)  # fmt: skip


def variables() -> Iterator[Finding]:
    """Each ILORA_ variable that is set."""
    given = {k: v for k, v in sorted(os.environ.items()) if k.startswith(_PREFIX)}
    if not given:
        yield Finding("variables", OK, f"no {_PREFIX}* variable is set")
    for name, value in given.items():
        yield _variable(name, value)


def _variable(name: str, value: str) -> Finding:
    if name in _READ:
        place = options.folder(value)
        if place.is_dir():
            return Finding(name, OK, str(place))
        advice = f"set {name} to a folder that is there, or unset it"
        return Finding(name, PROBLEM, f"{value!r} is no folder", advice)
    if name in _WRITTEN:
        return folder(name, options.folder(value))
    if name in _OTHERS:
        return Finding(name, OK, value)
    close = difflib.get_close_matches(name, [*_READ, *_WRITTEN, *_OTHERS], n=1)
    advice = f"did you mean {close[0]}?" if close else "unset it"
    # Not its value: it may be anything.
    return Finding(name, WARNING, "is set, and nothing reads it", advice)
