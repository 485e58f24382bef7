"""Ctrl-C, a request to end, a closed terminal: once, so that the clean-up runs."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_OUTPUTS = (1, 2)


class Stopped(KeyboardInterrupt):
    """A signal came.

    Args:
        number: of the signal.

    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def exit_code(stopped: KeyboardInterrupt) -> int:
    """128 and the signal, as shells have it: 130 is Ctrl-C, 143 SIGTERM."""
    number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
    return 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and the like stop the runs once, and the clean-up run.

    Raises:
        Stopped: in what it holds, where a signal came.

    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    # Under nohup the run is meant to outlive its terminal.
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        wanted.append(hangup)
    terminals = [number for number in _OUTPUTS if os.isatty(number)]

    def interrupt(came: int, _: object) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)
        _silence_closed(terminals)
        raise Stopped(came)

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
