"""What the server sends a client in a round: written here, and read here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair, only
from ilora_app.lora.ledger import Ledger
from ilora_app.strategies.holdings import Holdings
from ilora_app.strategies.memory import Memory
from ilora_app.strategies.state import Plan, Share

_GROUPS = ("trains", "up", "own", "kept")
_POOLED, _NONE = "pooled", "none"


def write(
    share: Share,
    plan: Plan,
    ledger: Ledger | None,
    holdings: Holdings,
    node: int,
    facts: Mapping[str, Any],
) -> RecordDict:
    """Content of a message to one node: its share, without what it already holds.

    Args:
        share: what the node is to work with.
        plan: of the round.
        ledger: of the base; None where the base stays.
        holdings: what nodes hold.
        node: the node.
        facts: added to the config record.

    """
    adapter = share.adapter.named_tensors()
    counted_on = holdings.counted_on(node, plan, adapter)
    groups = [group for group in plan.down if group not in counted_on]
    offset = {wire.OFFSET + module: C for module, C in share.offset.items()}
    config: dict[str, Any] = {
        **facts,
        **{name: _words(getattr(plan, name)) for name in _GROUPS},
        _POOLED: plan.pooled,
        wire.COUNTED_ON: _words(counted_on),
        wire.FACTORS_RANK: share.adapter.factors.rank,
        wire.HELD_AT: holdings.since(node),
        wire.SENT_AT: holdings.time,
        wire.OFFSET_BASIS: share.basis,
    }
    records: dict[str, Any] = {
        wire.ARRAYS: wire.encode_tensors({**only(adapter, groups), **offset})
    }
    if ledger is not None:
        held = holdings.base(node)
        config |= {wire.BASE_START: held, wire.BASE_END: ledger.version}
        records[wire.BASE] = wire.encode_increment(ledger.since(held))
    return RecordDict({**records, wire.CONFIG: ConfigRecord(config)})


@dataclass(frozen=True)
class Received:
    """What a client got, made whole from its memory.

    Attributes:
        tensors: factors and head by flat name.
        plan: of the round; ``down`` is of no use here.
        offset: as in :class:`Share`.
        basis: as in :class:`Share`.
        base: what to add to W0, dense by module; empty where the base stays.
        rank: r_k, where the message says it.
        memory: of this client.

    """

    tensors: Mapping[str, Tensor]
    plan: Plan
    offset: Mapping[str, Tensor]
    basis: str
    base: Mapping[str, Tensor]
    rank: int
    memory: Memory

    @classmethod
    def read(cls, message: Message, state: RecordDict, keep: bool) -> "Received":
        """Read a message.

        Args:
            message: written by :func:`write`.
            state: ``context.state``.
            keep: the server will count on what this message brings.

        Raises:
            WireError: this client does not hold what the server counts on.

        """
        content = message.content
        config: Any = content.config_records[wire.CONFIG]
        groups = {name: _tuple(config[name]) for name in _GROUPS}
        plan = Plan(**groups, pooled=bool(config[_POOLED]))
        flat = wire.decode_tensors(content.array_records[wire.ARRAYS])
        offset = {
            name.removeprefix(wire.OFFSET): value
            for name, value in flat.items()
            if name.startswith(wire.OFFSET)
        }
        received = {n: v for n, v in flat.items() if not n.startswith(wire.OFFSET)}
        sent = None
        if wire.BASE in content.array_records:
            sent = wire.BaseUpdate(
                int(config[wire.BASE_START]),
                int(config[wire.BASE_END]),
                wire.decode_increment(content.array_records[wire.BASE]),
            )
        memory = Memory(state)
        counted_on = _tuple(config[wire.COUNTED_ON])
        if counted_on:
            memory.check_time(int(config[wire.HELD_AT]))
        if keep:
            memory.set_time(int(config[wire.SENT_AT]))
        return cls(
            memory.complete(received, plan, counted_on, int(config[wire.FACTORS_RANK])),
            plan,
            offset,
            str(config[wire.OFFSET_BASIS]),
            memory.base(sent, keep),
            int(config[wire.RANK]),
            memory,
        )

    def taken_out(
        self, start: AdapterState, directions: Callable[[int], LoraFactors]
    ) -> dict[str, Pair]:
        """What the base gives up of the start, by module: see :class:`Share`."""
        return Share(start, self.offset, self.basis).taken_out(directions)


def _words(groups: Sequence[str]) -> str:
    """Write groups as one value; Flower cannot count the bytes of an empty one."""
    return " ".join(groups) or _NONE


def _tuple(words: object) -> tuple[str, ...]:
    return () if words == _NONE else tuple(str(words).split())
