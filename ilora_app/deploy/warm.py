"""A SuperNode whose messages do not each wait for Python to import its libraries.

Flower starts a process ``flwr-clientapp`` for every message, and most of what a short
message costs is importing torch, transformers and peft. Here another command of that
name stands before it on the SuperNode's PATH: it hands what it was asked to
``warm_parent``, which has all of that loaded and forks.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

COMMAND = "flwr-clientapp"
_PARENT = Path(__file__).with_name("warm_parent.py")
_ASK = Path(__file__).with_name("warm_ask.py")


class WarmError(RuntimeError):
    """Flower's commands are not there."""


def supernode(words: Sequence[str]) -> NoReturn:
    """Become a ``flower-supernode`` with these words.

    Raises:
        WarmError: it is not installed.

    """
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command, real = (
        shutil.which(name, path=here) for name in ("flower-supernode", COMMAND)
    )
    if not command or not real:
        raise WarmError(
            "flower-supernode is not on the PATH: expected the environment in which "
            "ilora is installed to be active"
        )
    folder = begin(real)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execv(command, [command, *words])


def begin(real: str) -> Path:
    """Start the parent; returns a folder with the command that asks it.

    The parent ends with this process, whatever this process becomes.

    Args:
        real: path of Flower's command.

    """
    folder = Path(tempfile.mkdtemp(prefix="ilora-warm-"))  # nobody else can enter
    python = [sys.executable, "-P", str(_PARENT), str(folder), real, str(os.getpid())]
    subprocess.Popen(python, stdin=subprocess.DEVNULL)
    script = folder / COMMAND
    asked = [sys.executable, "-IS", str(_ASK), str(folder), real]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(asked)} "$@"\n')
    script.chmod(0o700)
    return folder
