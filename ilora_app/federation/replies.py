"""Checks on what comes back from clients. No value is used before it passed here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.federation.exchange import reason_of
from ilora_app.federation.limits import Limits
from ilora_app.federation.member import Member
from ilora_app.federation.spool import Spool
from ilora_app.lora.factors import only
from ilora_app.methods import Method
from ilora_app.methods.state import Plan, Share, Update, UploadError

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What a node was sent in this exchange, and so what its reply must look like."""

    member: Member
    share: Share
    plan: Plan = field(default_factory=Plan)
    correction: Mapping[str, Tensor] = field(default_factory=dict)
    correction_rounds: bool = False
    """What its correction returns may come rounded."""
    steps: int = 0
    """N of a round that ends at a deadline; 0 where all are waited for."""
    test_split: bool = False
    """It was asked to measure its own model on the test split."""

    def layers(self) -> dict[str, Tensor]:
        """The layers that train, in the order of the model, with a number for each."""
        head = "head" in self.plan.trains and self.share.adapter.head
        names = [*self.share.adapter.factors.pairs, *(["head"] if head else [])]
        return {name: torch.zeros(()) for name in names}


def collect(
    requests: Mapping[int, Request],
    replies: Iterable[Message],
    read: Callable[[Message, Request], T],
    timeout: float,
) -> tuple[list[T], list[tuple[Member, str]]]:
    """Sort replies into good ones, in the order of members, and bad ones with reasons.

    Args:
        requests: by node id, in the order of members.
        replies: whatever came, in any order.
        read: raises WireError or UploadError where a reply is not what was asked for.
        timeout: for the reason of a reply that did not come.

    """
    by_node = {reply.metadata.src_node_id: reply for reply in replies}
    good: list[T] = []
    bad: list[tuple[Member, str]] = []
    for node, request in requests.items():
        reply = by_node.get(node)
        try:
            if reply is None:
                raise wire.WireError(f"no reply within {timeout:g} s")
            if not reply.has_content():
                raise wire.WireError(reason_of(reply))
            wire.bounded(reply.content)
            good.append(read(reply, request))
        except (wire.WireError, UploadError) as error:
            bad.append((request.member, wire.readable(str(error))))
        except Exception as error:  # whatever it is, it ends this reply and no run
            reason = f"its reply cannot be read: {type(error).__name__}: {error}"
            bad.append((request.member, wire.readable(reason)))
    return good, bad


_MOST_LOSS = 1e6
"""Larger ones say nothing of a model, and would be all that is seen of a mean."""

_FASTEST, _SLOWEST = 1e-9, 1e6
"""Seconds an example that a node can be believed to need."""


class WireUpload:
    """The tensors of a reply as a method reads them: see ``UncheckedUpload``.

    Args:
        content: of the reply.
        dtype: in which its numbers travel.
        begun: what the client was sent; of tensors of these names and shapes a reply
            whose numbers are rounded holds the change.

    """

    def __init__(
        self,
        content: RecordDict,
        dtype: str = wire.FLOAT32,
        begun: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._content, self._dtype = content, dtype
        self._begun = begun or {}

    @property
    def rank(self) -> int:
        """Rank that the client says its factors have."""
        return int(wire.number(self._content.get(wire.METRICS), wire.RANK))

    def tensors(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the client has trained, held against names and shapes."""
        record = self._content.get(wire.ARRAYS)
        found = wire.decode_checked(record, like, wire.ARRAYS, self._dtype)
        if self._dtype == wire.FLOAT32:
            return found
        for name, value in found.items():
            begun = self._begun.get(name)
            if begun is not None and begun.shape == value.shape:
                found[name] = begun + value
                if not bool(found[name].isfinite().all()):
                    raise wire.WireError(f"{wire.ARRAYS}: {name} is not finite")
        return found

    def slots(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the slots sent, held against names and shapes."""
        return wire.decode_checked(self._content.get(wire.SLOTS), like, wire.SLOTS)

    def extra(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What else was sent, held against names and shapes."""
        return wire.decode_checked(self._content.get(wire.EXTRA), like, wire.EXTRA)


class ReplyReader:
    """Reads training replies.

    Args:
        method: says what the tensors of an upload must be.
        limits: on what a reply may be.
        scaling: s, for norms in units of the weights.
        dtype: in which numbers travel.
        spool: takes what was read out of memory.

    """

    def __init__(
        self,
        method: Method,
        limits: Limits,
        scaling: float,
        dtype: str = wire.FLOAT32,
        spool: Spool | None = None,
    ) -> None:
        self._method, self._dtype = method, dtype
        self.limits, self.spool = limits, spool
        self.scaling = None if method.personal else scaling

    def update(self, reply: Message, request: Request) -> Update:
        """Read a training reply.

        Raises:
            WireError, UploadError: it is not what was asked for, with what is wrong.

        """
        content, member = reply.content, request.member
        plan = request.plan
        down = set(plan.down) - set(plan.own)
        begun = only(request.share.adapter.named_tensors(), tuple(down))
        upload = WireUpload(content, self._dtype, begun)
        asked = request.share, plan, member.rank, upload
        adapter, extra = self._method.restore(*asked), self._method.extra(*asked)
        correction: dict[str, Tensor] = {}
        if request.correction:
            record, like = content.get(wire.CORRECTION), request.correction
            dtype = self._dtype if request.correction_rounds else wire.FLOAT32
            correction = wire.decode_checked(record, like, wire.CORRECTION, dtype)
        metrics = content.get(wire.METRICS)
        most = 1e30 if plan.pooled else member.examples
        counted = wire.number(metrics, wire.EXAMPLES, least=1, most=most)
        update = Update(
            node=member.node_id,
            rank=member.rank,
            received=request.share,
            adapter=adapter,
            examples=self.limits.examples(counted),
            loss=wire.number(metrics, wire.LOSS, least=-_MOST_LOSS, most=_MOST_LOSS),
            seconds=wire.number(metrics, wire.SECONDS, least=0),
            correction=correction,
            correction_lost=wire.flag(metrics, wire.CORRECTION_LOST),
            extra=extra,
            **_progress(content, request),
        )
        self.limits.check(update, self.scaling)
        return self.spool.update(update) if self.spool else update


def _progress(content: RecordDict, request: Request) -> dict[str, Any]:
    """How many steps each layer has taken by the deadline, and how fast the node is."""
    if not request.steps:
        return {}
    layers, metrics = request.layers(), content.get(wire.METRICS)
    found = wire.decode_checked(content.get(wire.PROGRESS), layers, wire.PROGRESS)
    taken = {layer: float(found[layer]) for layer in layers}
    for layer, steps in taken.items():
        if not (0 <= steps <= request.steps and steps.is_integer()):
            right = f"expected a whole number from 0 to {request.steps}"
            raise wire.WireError(f"progress: {layer} is {steps:g}, {right}")
    speed = wire.number(metrics, wire.SPEED, least=0, most=_SLOWEST)
    spread = wire.number(metrics, wire.SPREAD, least=0, most=_SLOWEST)
    if speed < _FASTEST:  # not measured, or no time at all
        speed = spread = 0.0
    return {"progress": taken, "speed": (speed, spread if spread > _FASTEST else 0.0)}


def read_evaluation(
    reply: Message, request: Request, name: str = wire.METRICS, accuracy: bool = True
) -> dict[str, float]:
    """Read an evaluation reply: held-out examples, loss and accuracy, and the rank.

    A client that was asked to measure its own model on the test split adds what it
    found; what nobody asked for is not read. Without ``accuracy`` the task has none.

    Raises:
        WireError: a value is absent, no finite number, or outside its range.

    """
    metrics = reply.content.get(name)
    found = {
        wire.RANK: float(request.member.rank),
        wire.EXAMPLES: wire.number(
            metrics, wire.EXAMPLES, least=0, most=request.member.held_out
        ),
        wire.LOSS: wire.number(metrics, wire.LOSS, least=-_MOST_LOSS, most=_MOST_LOSS),
    }
    if accuracy:
        found[wire.ACCURACY] = wire.number(metrics, wire.ACCURACY, least=0, most=1)
    own = wire.TEST_ACCURACY if accuracy else wire.TEST_LOSS
    told = isinstance(metrics, MetricRecord) and own in metrics
    if request.test_split and told:
        found[wire.TEST_LOSS] = wire.number(
            metrics, wire.TEST_LOSS, least=-_MOST_LOSS, most=_MOST_LOSS
        )
        if accuracy:
            found[own] = wire.number(metrics, own, least=0, most=1)
    return found
