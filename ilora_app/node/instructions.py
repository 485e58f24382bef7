"""What a client is to work with in a round: ``federation.messages`` writes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Message, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, LoraFactors, Pair
from ilora_app.methods.state import Plan, Share
from ilora_app.node.client_state import ClientState


@dataclass(frozen=True)
class Instructions:
    """A message of the server, made whole from what the client keeps.

    Attributes:
        tensors: factors and head by flat name.
        plan: of the round; ``down`` is of no use here.
        coefficients: as in :class:`~ilora_app.methods.state.Share`.
        basis: as in :class:`~ilora_app.methods.state.Share`.
        base: what to add to W0, dense by module; empty where the base stays.
        rank: r_k, where the message says it.
        round: of the server.
        state: of this client.

    """

    tensors: Mapping[str, Tensor]
    plan: Plan
    coefficients: Mapping[str, Tensor]
    basis: str
    base: Mapping[str, Tensor]
    rank: int
    round: int
    state: ClientState

    @classmethod
    def read(cls, message: Message, records: RecordDict, keep: bool) -> "Instructions":
        """Read a message.

        Args:
            message: of the server.
            records: ``context.state``.
            keep: the server will count on what this message brings.

        Raises:
            WireError: this client does not hold what the server counts on.

        """
        return cls.of(message.content, records, keep)

    @classmethod
    def of(cls, content: RecordDict, records: RecordDict, keep: bool) -> "Instructions":
        """Read the content of a message, as :meth:`read` does."""
        config: Any = content.config_records[wire.CONFIG]
        groups = {name: wire.from_words(config[name]) for name in wire.PLAN}
        plan = Plan(**groups, pooled=bool(config[wire.POOLED]))
        flat = wire.decode_tensors(content.array_records[wire.ARRAYS])
        coefficients = {
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
        state = ClientState(records)
        counted_on = wire.from_words(config[wire.COUNTED_ON])
        if counted_on:
            state.check_version(int(config[wire.HELD_AT]))
        if keep:
            state.set_version(int(config[wire.SENT_AT]))
        rank = int(config[wire.FACTORS_RANK])
        return cls(
            state.complete(received, plan, counted_on, rank),
            plan,
            coefficients,
            str(config[wire.OFFSET_BASIS]),
            state.base(sent, keep),
            int(config[wire.RANK]),
            int(config[wire.ROUND]),
            state,
        )

    def offset(
        self, start: AdapterState, directions: Callable[[int], LoraFactors]
    ) -> dict[str, Pair]:
        """What the base gives up of the start, by module.

        As in :meth:`ilora_app.methods.state.Share.offset`.
        """
        return Share(start, self.coefficients, self.basis).offset(directions)
