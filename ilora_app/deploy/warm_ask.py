"""What stands for ``flwr-clientapp``: asks the warm parent, and ends as it ends.

It imports nothing but the standard library, and starts in hundredths of a second. Where
there is no parent it becomes the real command.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys


def main(folder: str, real: str, *words: str) -> int:
    """Have it run; returns its exit code."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.connect(f"{folder}/socket")
    except OSError:
        os.execv(real, [real, *words])
    here = os.getcwd()  # noqa: PTH109 - pathlib takes longer to import than all this
    asked = {"words": words, "environment": dict(os.environ), "folder": here}
    data = json.dumps(asked).encode()
    socket.send_fds(link, [struct.pack("!I", len(data))], [0, 1, 2])
    link.sendall(data)
    with link.makefile() as told:
        pid = int(told.readline() or 0)
        if not pid:
            return 1
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _: _pass_on(pid, n))
        code = int(told.readline() or 1)
    return code if code >= 0 else 128 - code


def _pass_on(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
