"""One round on a client: install what came, train it, pack what goes back.

Nothing of a federation is decided here: the method's client half says what training
starts from and what is returned, the drift correction changes gradients, and
:mod:`ilora_app.tasks.training` trains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import Tensor

from ilora_app import wire
from ilora_app.corrections import ClientCorrection
from ilora_app.lora.factors import AdapterState, Pair, only
from ilora_app.methods import ClientHalf
from ilora_app.node.correction_half import correction_half
from ilora_app.node.deadline import deadline_of
from ilora_app.node.instructions import Instructions
from ilora_app.node.local_evaluation import install_start, measure
from ilora_app.node.node import Node
from ilora_app.node.packing import Packing
from ilora_app.node.private_part import PrivatePart, private_part
from ilora_app.node.record_part import RecordPart
from ilora_app.settings import TrainingSettings
from ilora_app.tasks import record_training, training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.deadline import Deadline
from ilora_app.tasks.examples import Examples


@dataclass(frozen=True)
class LocalRound:
    """What one client trains in a round, ready to begin.

    Attributes:
        node: the client.
        instructions: of the server.
        half: the client half of the method.
        correction: the client half of the drift correction.
        start: what training starts from.
        offset: what the base gives up of the start, by module.
        examples: to train on.
        settings: of training in this round.
        names: of what is trained and shared.
        private: what is trained and never sent; None where there is none.
        seconds: after which training ends; None takes all steps.
        content: of the reply, as far as it is known.
        packing: writes its tensors.
        record: hides single rows; None where they are not hidden.

    """

    node: Node
    instructions: Instructions
    half: ClientHalf
    correction: ClientCorrection
    start: AdapterState
    offset: Mapping[str, Pair]
    examples: Examples
    settings: TrainingSettings
    names: Sequence[str]
    private: PrivatePart | None
    seconds: float | None
    content: dict[str, Any]
    packing: Packing
    record: RecordPart | None = None

    @classmethod
    def begin(cls, node: Node, message: Message, records: RecordDict) -> "LocalRound":
        """Read what the server sent, install it, and measure it where that is asked.

        Args:
            node: this client.
            message: of the server.
            records: ``context.state``.

        Raises:
            WireError: the client does not hold what the server counts on.

        """
        config: Any = message.content.config_records[wire.CONFIG]
        instructions = Instructions.read(message, records, keep=True)
        plan, half, backbone = (
            instructions.plan,
            node.client_half(),
            node.data.backbone(),
        )
        start, offset = install_start(node, half, instructions, backbone)
        private = private_part(node, backbone, instructions.state)
        content: dict[str, Any] = {}
        of = node.settings.method, half, message.content
        if config.get(wire.EVALUATE):
            content[wire.EVALUATION] = measure(node, backbone, config[wire.TEST_SPLIT])
        return cls(
            node,
            instructions,
            half,
            correction_half(*of, instructions, start),
            start,
            offset,
            node.pooled() if plan.pooled else node.data.examples()[0],
            _training(node, plan.pooled, instructions.round, config),
            list(half.trained(backbone.parameters(), plan.trains)),
            private,
            config.get(wire.DEADLINE),
            content,
            Packing.of(node, instructions, config),
        )

    @property
    def backbone(self) -> Backbone:
        """The model of this process."""
        return self.node.data.backbone()

    @property
    def seed(self) -> int:
        """Of this node in this round."""
        return self.node.seed(self.instructions.round)

    def train(self) -> RecordDict:
        """Train what :meth:`begin` installed; returns the content of the reply."""
        if self.record is not None:
            return self._hidden(self.record)
        everything = self.backbone.parameters()
        parameters = {name: everything[name] for name in self.names}
        full_gradient = None
        if self.correction.wants_full_gradient:
            full_gradient = training.mean_gradient(
                self.backbone,
                self.examples,
                self.settings.eval_batch_size,
                self.names,
                self.settings.logit_adjustment,
            )
        self.examples.ready()  # done once, as loading the model is: no part of a round
        deadline = None
        if self.seconds is not None:
            deadline = deadline_of(self.node, self.seconds, parameters, self.seed)
        try:
            outcome = self._train(parameters, everything, deadline)
        finally:
            if deadline is not None:
                deadline.close()
        trained, again = self.backbone.collect(), self.correction.again()
        if again is not None:
            self.backbone.install(again, self.offset, self.instructions.base)
            self._train(parameters, everything)
            self.correction.trained_again(self.backbone.collect())
        if self.private is not None:
            self.private.keep()
        return self.finish(outcome, trained, full_gradient, deadline)

    def _hidden(self, record: RecordPart) -> RecordDict:
        """Train so that no row can be told: nothing but that sees rows."""
        how = self.settings, self.names, self.node.settings.head.rate
        parts = self.backbone, self.examples, *how, record.noise
        return self.finish(record_training.train(*parts), self.backbone.collect())

    def _train(
        self,
        parameters: Mapping[str, Any],
        everything: Mapping[str, Any],
        deadline: Deadline | None = None,
    ) -> training.Outcome:
        """Train what is installed."""
        correction = self.correction
        hooks = [correction.hook(parameters), self.half.watcher(everything)]
        return training.train(
            self.backbone,
            self.examples,
            self.settings,
            self.seed,
            self.names,
            [hook for hook in hooks if hook],
            [
                self.half.penalty(parameters, self.instructions.rank),
                correction.penalty(parameters),
            ],
            self.node.settings.head.rate,
            correction.optimizer(parameters, everything),
            correction.gradient(parameters),
            self.private.parameters() if self.private else None,
            deadline,
        )

    def finish(
        self,
        outcome: training.Outcome,
        trained: AdapterState,
        full_gradient: Mapping[str, Tensor] | None = None,
        deadline: Deadline | None = None,
    ) -> RecordDict:
        """Keep what is the client's own and pack the rest.

        Args:
            outcome: of the training.
            trained: what it ended with.
            full_gradient: at the start, where the correction wants it.
            deadline: that training had.

        """
        plan, rank = self.instructions.plan, self.instructions.rank
        self.instructions.state.keep_own(trained.named_tensors(), plan)
        upload = self.half.finish(self.start, trained, rank)
        metrics: dict[str, int | float] = {
            wire.EXAMPLES: outcome.examples,
            wire.LOSS: outcome.loss,
            wire.SECONDS: outcome.seconds,
            wire.RANK: upload.rank,
        }
        if self.record is not None:
            metrics[wire.EPSILON] = self.record.epsilon
        content = dict(self.content)
        if deadline is not None:
            steps = {n: torch.tensor(float(x)) for n, x in deadline.steps.items()}
            content[wire.PROGRESS] = wire.encode_tensors(steps)
            metrics[wire.SPEED], metrics[wire.SPREAD] = deadline.speed()
        content[wire.ARRAYS] = self.packing.arrays(only(upload.tensors, plan.up))
        if upload.slots:
            content[wire.SLOTS] = wire.encode_tensors(upload.slots)
        if upload.extra:
            content[wire.EXTRA] = wire.encode_tensors(upload.extra)
        pruned = upload.rank if upload.pruned else None
        uploads = self.correction.finish(full_gradient, pruned)
        if uploads:
            content[wire.CORRECTION] = self.packing.correction(self.correction, uploads)
            metrics[wire.CORRECTION_LOST] = int(self.correction.lost)
        content[wire.METRICS] = MetricRecord({**metrics})
        return RecordDict(content)


def _training(
    node: Node, pooled: bool, server_round: int, config: Any
) -> TrainingSettings:
    """Settings of the round, with the batch size that the server has chosen."""
    found = node.local_training(pooled, server_round)
    return replace(found, batch_size=int(config.get(wire.BATCH_SIZE, found.batch_size)))
