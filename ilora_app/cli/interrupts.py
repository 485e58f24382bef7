"""Ctrl-C, a request to end, a closed terminal: once, so that the clean-up runs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_OUTPUTS = (1, 2)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and the like stop the runs once, and the clean-up run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    # Under nohup the run is meant to outlive its terminal.
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        wanted.append(hangup)
    terminals = [number for number in _OUTPUTS if os.isatty(number)]

    def interrupt(*_: object) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)
        _silence_closed(terminals)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _silence_closed(terminals: list[int]) -> None:
    """Send what is still said to nowhere where the terminal is gone.

    Else the first line that the clean-up prints would end it.
    """
    gone = [number for number in terminals if not os.isatty(number)]
    if not gone:
        return
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in gone:
            os.dup2(nowhere, number)
        os.close(nowhere)
