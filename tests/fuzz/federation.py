"""A federation of four real strategies' clients, of which one answers as it likes."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import (
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)

from ilora_app import methods, strategies, wire
from ilora_app.federation.limits import Limits
from ilora_app.federation.membership import Membership
from ilora_app.federation.ridge_head import RidgeHead
from ilora_app.federation.rounds import Row
from ilora_app.federation.waiting import UntrainedError
from ilora_app.lora.factors import AdapterState
from ilora_app.lora.initialisation import qr_directions, standard_factors
from ilora_app.lora.ridge import RidgeSums
from ilora_app.settings import parsing
from tests.quadratic import HEAD, HEAD_SHAPE, SCALING, Problem, dense
from tests.toy import ToyGrid

BAD = 2
"""The node that lies."""

RANKS = (2, 4, 3, 4)
JOBS: dict[str, dict[str, Any]] = {
    "ilora": {"strategy": "ilora", "head": "trained"},
    "ilora solved": {"strategy": "ilora", "head": "ridge", "drift-correction": "none"},
    "fedit": {"strategy": "fedit", "evaluate-on": "train"},
    "hetlora": {"strategy": "hetlora", "hetlora-gamma": 0.5, "hetlora-lambda": 1.0},
    "flora": {"strategy": "flora", "head": "ridge"},
    "lora-a2": {"strategy": "lora-a2"},
    "fedgalore": {"strategy": "fedgalore"},
}

Lie = Callable[[Message], list[Message]]

CLASSES, FEATURES = HEAD_SHAPE
_HELD_OUT = 5


class Grid(ToyGrid):
    """Answers every kind of message; what the bad node says passes through a lie.

    With ``everybody`` what every node says does.
    """

    everybody = False

    def __init__(self, *args: Any, lie: Lie) -> None:
        super().__init__(*args)
        self.lie = lie

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        replies = super().send_and_receive(messages, timeout=timeout)
        return [
            told
            for reply in replies
            for told in (self.lie(reply) if self._lies(reply) else [reply])
        ]

    def _lies(self, reply: Message) -> bool:
        return self.everybody or reply.metadata.src_node_id == BAD

    def answer(self, message: Message, context: Context) -> Message:
        kind = message.metadata.message_type
        if kind == MessageType.EVALUATE:
            k = int(context.node_config[wire.PARTITION])
            return Message(self.evaluate(message, k), reply_to=message)
        reply = super().answer(message, context)
        if kind == MessageType.QUERY:
            facts = reply.content[wire.CONFIG]
            facts[wire.PARTITIONS] = len(self.problem.ranks)
            facts[wire.HELD_OUT] = _HELD_OUT
        return reply

    def evaluate(self, message: Message, k: int) -> RecordDict:
        if message.content[wire.CONFIG].get(wire.HEAD_SUMS):
            draw = torch.Generator().manual_seed(k)
            n = self.problem.examples[k]
            features = torch.randn(n, FEATURES, generator=draw)
            labels = torch.randint(CLASSES, (n,), generator=draw)
            sums = RidgeSums.of(features, labels, CLASSES)
            tensors = {wire.GRAM: sums.gram, wire.CROSS: sums.cross}
            record = wire.encode_tensors(tensors, torch.float64)
            return RecordDict({wire.HEAD_SUMS: record})
        found = {wire.EXAMPLES: _HELD_OUT, wire.LOSS: 1.0, wire.ACCURACY: 0.5}
        return RecordDict({wire.METRICS: MetricRecord({**found})})


@dataclass
class Outcome:
    """What became of a federation: its rounds, events and the models after each."""

    rows: list[Row] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, torch.Tensor]] = field(default_factory=list)
    untrained: str = ""  # what it ended with, where no reply of any round was used

    def event(self, kind: str, **facts: Any) -> None:
        """Take an event as the run folder does."""
        self.events.append(json.loads(json.dumps({"event": kind, **facts})))

    def moved(self, number: int) -> float:
        """How far a round has moved the model, in the weights and the head."""
        before, after = self.models[number - 1], self.models[number]
        return sum(float((after[n] - before[n]).square().sum()) for n in after) ** 0.5

    def size(self) -> float:
        """The largest that the model was, in the weights and the head."""
        sizes = [sum(float(v.square().sum()) for v in m.values()) for m in self.models]
        return max(sizes) ** 0.5


def federate(
    config: dict[str, Any],
    lie: Lie,
    ranks: tuple[int, ...],
    rounds: int = 3,
    everybody: bool = False,
) -> Outcome:
    """Run a federation through ``LoraStrategy.start``."""
    settings = methods.resolve(parsing.load(config))
    problem = Problem(ranks, tuple(10 + k for k in range(len(ranks))))
    outcome = Outcome()
    ridge = RidgeHead(
        HEAD.removesuffix(".weight"), FEATURES, CLASSES, False, refit_every=1,
        limits=Limits(**vars(settings.limits)),
    )  # fmt: skip
    strategy = strategies.build(
        settings,
        Membership(),
        outcome,
        ridge_head=ridge if settings.head.head == "ridge" else None,
    )
    grid = Grid(problem, strategy, settings.method, lie=lie)
    grid.everybody = everybody
    if getattr(strategy.method, "qr_start", False):
        factors = qr_directions(problem.W0.items(), max(ranks))
    else:
        draw = torch.Generator().manual_seed(3)
        factors = standard_factors(problem.shapes, max(ranks), draw)
    initial = AdapterState(factors, {HEAD: torch.zeros(HEAD_SHAPE)})

    def after(rows: list[Row]) -> None:
        model = strategy.global_model()
        outcome.rows = [*rows]
        flat = {m: SCALING * BA for m, BA in dense(model.factors).items()}
        zeros = {m: torch.zeros(s).double() for m, s in problem.shapes.items()}
        outcome.models.append({**zeros, **flat, HEAD: model.head[HEAD].double()})

    try:
        strategy.start(
            grid,
            wire.model_record(initial.named_tensors()),
            num_rounds=rounds,
            timeout=0.05,
            evaluate_config=ConfigRecord(),
            evaluate_fn=lambda *_: MetricRecord({"accuracy": 0.25, "loss": 1.5}),
            after_round=after,
        )
    except UntrainedError as error:
        outcome.untrained = str(error)
    return outcome
