"""What a client keeps from round to round, in its ``context.state``.

Nothing here depends on a process: a fresh one finds the same state.
"""

from collections.abc import Mapping, Sequence

from flwr.app import ConfigRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import group_of, only
from ilora_app.lora.ledger import accumulate
from ilora_app.methods.state import Plan

_KEPT, _OWN, _VERSION = "kept-groups", "own-groups", "held-at-version"
_BASE, _BASE_VERSION = "base", "base-version"


class ClientState:
    """Reads and writes a client's state; also the memory of a drift correction.

    Args:
        records: ``context.state``.

    """

    def __init__(self, records: RecordDict) -> None:
        self._records = records

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """Read tensors; None where none are kept under this name."""
        if name not in self._records:
            return None
        return wire.decode_tensors(self._records.array_records[name])

    def keep_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name, in place of those before."""
        self._records[name] = wire.encode_tensors(tensors)

    def number(self, name: str) -> int:
        """Read a number; 0 where none is kept under this name."""
        if name not in self._records:
            return 0
        return int(self._records.config_records[name][name])  # type: ignore[arg-type]

    def keep_number(self, name: str, value: int) -> None:
        """Keep a number under a name."""
        self._records[name] = ConfigRecord({name: value})

    def drop(self, name: str) -> None:
        """Keep nothing under this name any more."""
        self._records.pop(name, None)

    def check_version(self, version: int) -> None:
        """See that what this client keeps is what the server counts on.

        Raises:
            WireError: it is of another time, as after a restart with an older state.

        """
        held = self.number(_VERSION)
        if held != version:
            raise wire.WireError(
                f"the server counts on what this client held at time {version}, and "
                f"what it holds is of time {held}"
            )

    def set_version(self, version: int) -> None:
        """Note that of a training message: what it brings is held from now on."""
        self.keep_number(_VERSION, version)

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
        kept = at_rank(only(self.tensors(_KEPT) or {}, plan.kept), rank)
        lost = set(counted_on) - {group_of(name) for name in kept}
        if lost:
            raise wire.WireError(f"this client does not hold {', '.join(sorted(lost))}")
        if plan.kept:
            kept |= only(received, plan.kept)
            self.keep_tensors(_KEPT, kept)
        own = at_rank(only(self.tensors(_OWN) or {}, plan.own), rank)
        return {**kept, **received, **own}

    def keep_own(self, trained: Mapping[str, Tensor], plan: Plan) -> None:
        """Keep the groups that are this client's own."""
        if plan.own:
            self.keep_tensors(_OWN, only(trained, plan.own))

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
        held = self.number(_BASE_VERSION)
        if sent.start not in (0, held):
            raise wire.WireError(
                f"the server counts on base version {sent.start}, this client holds "
                f"{held}"
            )
        before = self.tensors(_BASE) or {} if sent.start else {}
        base = accumulate(before, sent.increment)
        if keep:
            self.keep_tensors(_BASE, base)
            self.keep_number(_BASE_VERSION, sent.end)
        return base


def at_rank(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
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
