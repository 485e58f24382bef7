"""A process that has the libraries of a ClientApp loaded, and forks for every message.

It is a program of its own that imports nothing of the app: the app comes with each run
and may be another version than what is installed. What it forks runs Flower's own
``flwr-clientapp``, with the words, the environment, the folder and the output that were
asked for. It ends with the process that has started it.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

SOCKET = "socket"
LENGTH = struct.Struct("!I")
LIBRARIES = (
    "flwr.supernode.cli.flwr_clientapp",
    "flwr.clientapp",
    "flwr_datasets.partitioner",
    "torch",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.processing_utils",
    "peft",
    "datasets",
)
_EVERY = 1.0


def load() -> None:
    """Import what every ClientApp imports; what is not there is left to the app."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def heed(folder: Path) -> None:
    """End at SIGTERM, which all processes of a service get, and the folder with it."""
    own = os.getpid()

    def end(number: int, _: object) -> None:
        if os.getpid() == own:  # and not another, right after a fork
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, end)


class Parent:
    """Forks a process for each connection, and tells how it ended.

    Args:
        folder: with the socket; removed at the end.
        real: the command that is run where a fork cannot be.

    """

    def __init__(self, folder: Path, real: str) -> None:
        self._folder, self._real = folder, real
        self._links: dict[int, socket.socket] = {}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / SOCKET))
        self._server.listen(64)
        self._woken, self._wake = socket.socketpair()
        for end in (self._woken, self._wake):
            end.setblocking(False)

    def serve(self, starter: int) -> bool:
        """Until the process that started this one has ended; True in what is forked."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while os.getppid() == starter:
                for key, _ in selector.select(_EVERY):
                    if key.fileobj is self._server:
                        if self._take():
                            return True
                    else:
                        self._woken.recv(4096)
                self._reap()
        shutil.rmtree(self._folder, ignore_errors=True)
        return False

    def _take(self) -> bool:
        """Fork for a connection; True in the fork."""
        link, _ = self._server.accept()
        try:
            link.settimeout(10)
            asked, places = _read(link)
            link.settimeout(None)
        except (OSError, ValueError):
            link.close()
            return False
        pid = os.fork()
        if not pid:
            self._become(asked, places)
            return True
        for place in places:
            os.close(place)
        self._links[pid] = link
        with contextlib.suppress(OSError):
            link.sendall(f"{pid}\n".encode())
        return False

    def _become(self, asked: dict[str, Any], places: list[int]) -> None:
        """Take over words, environment, folder and output."""
        signal.set_wakeup_fd(-1)
        for one in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for link in (self._server, self._woken, self._wake, *self._links.values()):
            link.close()
        for number, place in enumerate(places):
            os.dup2(place, number)
            os.close(place)
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = [Path(self._real).name, *asked["words"]]
        torch = sys.modules.get("torch")
        if torch and getattr(torch.cuda, "_is_in_bad_fork", bool)():
            # A library has touched the GPU while it was imported.
            os.execv(self._real, [self._real, *asked["words"]])

    def _reap(self) -> None:
        """Tell how processes ended, and end those that nobody waits for."""
        for pid, link in list(self._links.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with contextlib.suppress(OSError):
                    link.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                link.close()
                del self._links[pid]
            elif _is_gone(link):
                os.kill(pid, signal.SIGKILL)


def _read(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    head, places, _, _ = socket.recv_fds(link, LENGTH.size, 3)
    if len(places) != 3 or len(head) != LENGTH.size:
        raise ValueError("expected a length and three open files")
    (size,) = LENGTH.unpack(head)
    with link.makefile("rb") as file:
        found: dict[str, Any] = json.loads(file.read(size))
    return found, list(places)


def _is_gone(link: socket.socket) -> bool:
    """Whether who asked has ended: it sends nothing more while it waits."""
    try:
        return link.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def main(folder: str, real: str, starter: str) -> None:
    """Serve, and run ``flwr-clientapp`` in what is forked."""
    # Whether there is a GPU is asked without touching it: a fork could not use it then.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    heed(Path(folder))
    parent = Parent(Path(folder), real)
    load()
    # Without it a fork takes seconds to end: it would look at all there is once more.
    gc.freeze()
    if not parent.serve(int(starter)):
        return
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    try:
        flwr_clientapp()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
