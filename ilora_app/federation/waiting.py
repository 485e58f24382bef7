"""Waiting for as many nodes as a run needs."""

import time
from collections import Counter
from collections.abc import Mapping
from logging import INFO, WARNING

from flwr.serverapp import Grid
from flwr.supercore import log

from ilora_app.settings.parsing import count

_POLL_SECONDS = 0.5
# Once a whole wait was in vain, rounds go on with those that are there, and wait no
# longer than this for the others until there were enough again.
_AGAIN_SECONDS = 60.0
_SHOWN = 10
_ASKS = "min-available-nodes (or secure-min-nodes) asks"


class FederationError(RuntimeError):
    """No node can take part, with every reason that nodes gave."""


class UntrainedError(RuntimeError):
    """No round changed the model, with the first reasons why."""


def wait(grid: Grid, least: int, timeout: float, settle: bool = False) -> None:
    """Wait until ``least`` nodes are connected.

    With ``settle`` their number must also stand still: before round 1 all nodes of a
    simulation should be there.

    Raises:
        FederationError: fewer came within ``timeout`` seconds.

    """
    end = time.monotonic() + timeout
    before = -1
    while True:
        now = len(set(grid.get_node_ids()))
        if now >= max(least, 1) and (now == before or not settle):
            return
        if time.monotonic() > end:
            raise FederationError(
                f"{now} nodes connected within {timeout:g} s, {_ASKS} for {least}"
            )
        if now < least and now != before:
            log(INFO, "Waiting for nodes: %d connected, %d needed", now, least)
        before = now
        time.sleep(_POLL_SECONDS)


class Patience:
    """Waits before every round, but not for ever for nodes that do not come back."""

    def __init__(self) -> None:
        self._in_vain = False

    def wait(self, grid: Grid, least: int, timeout: float) -> float:
        """Wait for so many nodes, and go on without; returns the seconds it had."""
        seconds = min(timeout, _AGAIN_SECONDS) if self._in_vain else timeout
        try:
            wait(grid, least, seconds)
        except FederationError as error:
            log(WARNING, "%s; going on with those", error)
            self._in_vain = True
        else:
            self._in_vain = False
        return seconds

    def short(self, here: int, least: int) -> None:
        """Note that of the nodes that are connected too few can take part."""
        if not self._in_vain:
            text = "%d nodes can take part, %s for %d; going on"
            log(WARNING, text, here, _ASKS, least)
        self._in_vain = True


def nobody(server_round: int, reasons: Mapping[int, str]) -> FederationError:
    """Make the error of a round that no node can take part in, with why, by node."""
    why = _counted(Counter(reasons.values())) or " none is connected"
    return FederationError(f"no node can take part in round {server_round}:{why}")


def untrained(rounds: int, reasons: Mapping[str, int]) -> UntrainedError:
    """Make the error of a run without a usable reply, with reasons and their counts."""
    return UntrainedError(
        f"none of {count(rounds, 'round')} had usable replies, so the model is what it "
        f"was before; in the first of them:{_counted(reasons)}"
    )


def _counted(reasons: Mapping[str, int]) -> str:
    found = sorted(reasons.items())
    lines = [
        f"\n  - {why}" + (f" ({count(n, 'node')})" if n else "")
        for why, n in found[:_SHOWN]
    ]
    more = len(found) - _SHOWN
    return "".join(lines) + (f"\n  - and {more} more" if more > 0 else "")
