"""Where a command writes: a live view and colours in a terminal, plain lines else."""

import json
import math
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_DUMB = ("dumb", "unknown")


def console(
    *, stderr: bool = False, plain: bool = False, width: int | None = None
) -> "Console":
    """Make a console for stdout or stderr.

    Variables such as FORCE_COLOR and TTY_COMPATIBLE have no say: in a pipe or a file
    control characters would stand between the lines that somebody reads there.

    Args:
        stderr: write there, and not to stdout.
        plain: plain lines also in a terminal.
        width: of lines; else the terminal's.

    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    dumb = os.environ.get("TERM", "").lower() in _DUMB
    live = stream.isatty() and not dumb and not plain
    return Console(
        stderr=stderr, width=width, force_terminal=live, force_interactive=live
    )


def as_json(value: Any, **options: Any) -> str:
    """Write for a script; a number that is none, such as a loss of NaN, is null."""
    return json.dumps(_finite(value), default=str, allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
