"""What a client keeps from round to round, in its ``context.state``.

Nothing here depends on a process: a fresh one finds the same state.
"""

from collections.abc import Mapping, Sequence

from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import group_of, only
from ilora_app.lora.ledger import accumulate
from ilora_app.strategies.state import Plan

_KEPT, _OWN, _TIME = "kept-groups", "own-groups", "held-at-time"
_BASE, _VERSION = "base", "base-version"


class Memory:
    """Reads and writes a client's state.

    Args:
        state: ``context.state``.

    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def check_time(self, time: int) -> None:
        """See that what this client keeps is what the server counts on.

        Raises:
            WireError: it is of another time, as after a restart with an older state.

        """
        held = 0
        if _TIME in self._state:
            held = int(self._state.config_records[_TIME][_TIME])  # type: ignore[arg-type]
        if held != time:
            raise wire.WireError(
                f"the server counts on what this client held at time {time}, and what "
                f"it holds is of time {held}"
            )

    def set_time(self, time: int) -> None:
        """Note the time of a training message: what it brings is held from now on."""
        self._state[_TIME] = ConfigRecord({_TIME: time})

    def complete(
        self,
        received: Mapping[str, Tensor],
        plan: Plan,
        counted_on: Sequence[str],
        rank: int,
    ) -> dict[str, Tensor]:
        """Add to what was received what this client keeps; its own groups win.

        Args:
            received: by flat name.
            plan: of the round.
            counted_on: groups that were not sent because this client holds them.
            rank: of the factors; those kept at a larger one are cut to it. 0: none.

        Raises:
            WireError: it does not hold one of them, or at a smaller rank.

        """
        kept = _at_rank(only(self._read(_KEPT), plan.kept), rank)
        lost = set(counted_on) - {group_of(name) for name in kept}
        if lost:
            raise wire.WireError(f"this client does not hold {', '.join(sorted(lost))}")
        if plan.kept:
            kept |= only(received, plan.kept)
            self._state[_KEPT] = wire.encode_tensors(kept)
        own = _at_rank(only(self._read(_OWN), plan.own), rank)
        return {**kept, **received, **own}

    def keep_own(self, trained: Mapping[str, Tensor], plan: Plan) -> None:
        """Keep the groups that are this client's own."""
        if plan.own:
            self._state[_OWN] = wire.encode_tensors(only(trained, plan.own))

    def base(self, sent: wire.BaseUpdate | None, keep: bool) -> dict[str, Tensor]:
        """Follow the base ledger: what this client adds to W0, dense by module.

        The server counts on what a training message brought once it has the reply;
        after a reply that failed or got lost it starts from version 0 again.

        Args:
            sent: versions and the increment between them; None where the base stays.
            keep: remember the result; a training message.

        Raises:
            WireError: this client does not hold the version that the server counts on.

        """
        if sent is None:
            return {}
        held = 0
        if _VERSION in self._state:
            held = int(self._state.config_records[_VERSION][_VERSION])  # type: ignore[arg-type]
        if sent.start not in (0, held):
            raise wire.WireError(
                f"the server counts on base version {sent.start}, this client holds "
                f"{held}"
            )
        base = accumulate(self._read(_BASE) if sent.start else {}, sent.increment)
        if keep:
            self._state[_BASE] = wire.encode_tensors(base)
            self._state[_VERSION] = ConfigRecord({_VERSION: sent.end})
        return base

    def _read(self, name: str) -> dict[str, Tensor]:
        if name not in self._state:
            return {}
        return wire.decode_tensors(self._state.array_records[name])


def _at_rank(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Cut factors to a rank, as a client's may have become smaller.

    Raises:
        WireError: they are of a smaller one.

    """
    if not rank:
        return dict(tensors)
    found = {}
    for name, value in tensors.items():
        side = {"lora_B": 1, "lora_A": 0}.get(group_of(name))
        if side is not None and value.shape[side] < rank:
            raise wire.WireError(
                f"this client holds {name} at rank {value.shape[side]}, expected {rank}"
            )
        found[name] = value if side is None else value.narrow(side, 0, rank)
    return found
