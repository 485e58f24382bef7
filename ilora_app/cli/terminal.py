"""Where a command writes: a live view and colours in a terminal, plain lines else."""

import os
import sys
from typing import TYPE_CHECKING

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
