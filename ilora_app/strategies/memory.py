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

_KEPT, _OWN = "kept-groups", "own-groups"
_BASE, _VERSION = "base", "base-version"


class Memory:
    """Reads and writes a client's state.

    Args:
        state: ``context.state``.

    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    def complete(
        self, received: Mapping[str, Tensor], plan: Plan, counted_on: Sequence[str]
    ) -> dict[str, Tensor]:
        """Add to what was received what this client keeps; its own groups win.

        Args:
            received: by flat name.
            plan: of the round.
            counted_on: groups that were not sent because this client holds them.

        Raises:
            WireError: it does not hold one of them.

        """
        kept = only(self._read(_KEPT), plan.kept)
        lost = set(counted_on) - {group_of(name) for name in kept}
        if lost:
            raise wire.WireError(f"this client does not hold {', '.join(sorted(lost))}")
        if plan.kept:
            kept |= only(received, plan.kept)
            self._state[_KEPT] = wire.encode_tensors(kept)
        return {**kept, **received, **only(self._read(_OWN), plan.own)}

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
