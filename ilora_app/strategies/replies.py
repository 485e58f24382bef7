"""Checks on what comes back from clients. No value is used before it passed here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.lora.factors import AdapterState, only
from ilora_app.strategies.federation import Member
from ilora_app.strategies.limits import Limits
from ilora_app.strategies.method import Method
from ilora_app.strategies.state import Aggregate, GlobalState, Plan, Share, Update

T = TypeVar("T")


class UnusableError(Exception):
    """A round whose replies make no model, with the reason."""


@dataclass(frozen=True)
class Asked:
    """What a node was sent in this exchange, and so what its reply must look like."""

    member: Member
    share: Share
    plan: Plan = field(default_factory=Plan)
    correction: Mapping[str, Tensor] = field(default_factory=dict)


def collect(
    asked: Mapping[int, Asked],
    replies: Iterable[Message],
    read: Callable[[Message, Asked], T],
    timeout: float,
) -> tuple[list[T], list[tuple[Member, str]]]:
    """Sort replies into good ones, in the order of members, and bad ones with reasons.

    Args:
        asked: by node id, in the order of members.
        replies: whatever came, in any order.
        read: raises WireError where a reply is not what was asked for.
        timeout: for the reason of a reply that did not come.

    """
    by_node = {reply.metadata.src_node_id: reply for reply in replies}
    good: list[T] = []
    bad: list[tuple[Member, str]] = []
    for node, question in asked.items():
        reply = by_node.get(node)
        try:
            if reply is None:
                raise wire.WireError(f"no reply within {timeout:g} s")
            if reply.has_error():
                raise wire.WireError(str(reply.error.reason))
            good.append(read(reply, question))
        except wire.WireError as error:
            bad.append((question.member, wire.readable(str(error))))
        except Exception as error:  # whatever it is, it ends this reply and no run
            reason = f"its reply cannot be read: {type(error).__name__}: {error}"
            bad.append((question.member, wire.readable(reason)))
    return good, bad


class Replies(Method):
    """From training replies to an aggregate.

    Methods whose clients send less than they were sent override :meth:`read_trained`.

    Attributes:
        limits: on what a reply may be.
        lora_scaling: s.

    """

    limits: Limits
    lora_scaling: float

    def read_trained(self, content: RecordDict, asked: Asked) -> AdapterState:
        """Check the tensors of a training reply, and make them whole.

        Raises:
            WireError: they are not what was asked for.

        """
        received = asked.share.adapter.named_tensors()
        expected = only(received, asked.plan.up)
        trained = wire.decode_checked(content.get(wire.ARRAYS), expected, wire.ARRAYS)
        return AdapterState.from_named_tensors({**received, **trained})

    def read_update(self, reply: Message, asked: Asked) -> Update:
        """Read a training reply.

        Raises:
            WireError: the reply is not what was asked for, with what is wrong.

        """
        content = reply.content
        adapter = self.read_trained(content, asked)
        uploaded: dict[str, Tensor] = {}
        if asked.correction:
            uploaded = wire.decode_checked(
                content.get(wire.CORRECTION), asked.correction, wire.CORRECTION
            )
        metrics = content.get(wire.METRICS)
        most = 1e30 if asked.plan.pooled else asked.member.examples
        counted = wire.number(metrics, wire.EXAMPLES, least=1, most=most)
        update = Update(
            member=asked.member,
            received=asked.share,
            adapter=adapter,
            examples=self.limits.examples(counted),
            loss=wire.number(metrics, wire.LOSS),
            seconds=wire.number(metrics, wire.SECONDS, least=0),
            correction=uploaded,
            anew=wire.flag(metrics, wire.ANEW),
        )
        self.limits.check(update, None if self.personal else self.lora_scaling)
        return update

    def attempt(
        self, state: GlobalState, updates: list[Update]
    ) -> tuple[Aggregate, ArrayRecord]:
        """Aggregate, and encode the global model that comes out.

        Raises:
            UnusableError: too few replies to aggregate, or no finite result.

        """
        too_few = self.limits.enough(updates)
        if too_few:
            raise UnusableError(too_few)
        try:
            made = self.aggregate(state, updates)
            model = self.model(made.state).named_tensors()
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            text = f"the aggregate cannot be computed ({error})"
            raise UnusableError(text) from error
        if not all(bool(tensor.isfinite().all()) for tensor in model.values()):
            raise UnusableError("the aggregate is not finite")
        return made, wire.encode_tensors(model)


def read_evaluation(
    reply: Message, asked: Asked, name: str = wire.METRICS
) -> dict[str, float]:
    """Read an evaluation reply: held-out examples, loss and accuracy, and the rank.

    A client that measured its own model on the test split adds what it found.

    Raises:
        WireError: a value is absent, no finite number, or outside its range.

    """
    metrics = reply.content.get(name)
    found = {
        wire.RANK: float(asked.member.rank),
        wire.EXAMPLES: wire.number(
            metrics, wire.EXAMPLES, least=0, most=asked.member.held_out
        ),
        wire.LOSS: wire.number(metrics, wire.LOSS),
        wire.ACCURACY: wire.number(metrics, wire.ACCURACY, least=0, most=1),
    }
    if isinstance(metrics, MetricRecord) and wire.TEST_ACCURACY in metrics:
        found[wire.TEST_LOSS] = wire.number(metrics, wire.TEST_LOSS)
        found[wire.TEST_ACCURACY] = wire.number(
            metrics, wire.TEST_ACCURACY, least=0, most=1
        )
    return found
