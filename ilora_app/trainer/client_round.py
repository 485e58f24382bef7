"""One round of a client whose training is its own: take up what came, reply."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import MetricRecord, RecordDict
from torch import nn

from ilora_app import wire
from ilora_app.corrections import ClientCorrection
from ilora_app.lora.factors import AdapterState, only
from ilora_app.methods import ClientHalf
from ilora_app.node.correction_half import correction_half
from ilora_app.node.instructions import Instructions
from ilora_app.settings.kinds import kind
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.training import unfrozen
from ilora_app.trainer.callback import DriftCorrectionCallback


@dataclass(frozen=True)
class ClientRound:
    """What came from the server, installed, and what of it has to go back.

    Attributes:
        backbone: holds the model; ``backbone.model`` is what a Trainer trains.
        instructions: of the server.
        half: the client half of the method.
        correction: the client half of the drift correction.
        start: what training starts from.
        parameters: that train, by flat name; nothing else may change.
        callback: for ``Trainer(callbacks=[...])``.

    """

    backbone: Backbone
    instructions: Instructions
    half: ClientHalf
    correction: ClientCorrection
    start: AdapterState
    parameters: Mapping[str, nn.Parameter]
    callback: DriftCorrectionCallback
    _forwards: Mapping[nn.Module, Any]
    _clock: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(
        cls,
        content: RecordDict,
        state: RecordDict,
        backbone: Backbone,
        half: ClientHalf,
        seed: int = 0,
    ) -> "ClientRound":
        """Install what the server sent, with what this client kept.

        Args:
            content: of the message for TRAIN.
            state: ``context.state``, the client's memory between rounds.
            backbone: of this process.
            half: of the strategy: ``ILoRA.client_half(MethodSettings())``.
            seed: of this client in this round.

        Raises:
            WireError: the client does not hold what the server counts on.
            ValueError: a drift correction, or a setting, that needs a loop of its own.

        """
        _check_settings(backbone)
        sent = Instructions.of(content, state, keep=True)
        start = half.start(sent.tensors, backbone.shapes(), sent.rank, seed)
        offset = sent.offset(start, backbone.directions)
        correction = correction_half(half.settings, half, content, sent, start)
        _check(correction)
        backbone.install(start, offset, sent.base)
        everything: Any = backbone.parameters()
        names = half.trained(everything, sent.plan.trains)
        parameters = unfrozen(backbone, names)
        callback = DriftCorrectionCallback(
            parameters,
            [correction.hook(parameters), half.watcher(everything)],
            [half.penalty(parameters, sent.rank), correction.penalty(parameters)],
        )
        _mean_loss(backbone)
        forwards = {m: vars(m).get("forward") for m in backbone.model.modules()}
        parts = half, correction, start, parameters, callback
        return cls(backbone, sent, *parts, _forwards=forwards)

    @property
    def round(self) -> int:
        """Number of the round."""
        return self.instructions.round

    def reply(self, examples: int, loss: float) -> RecordDict:
        """Keep what is the client's own, and make the content of the reply.

        Args:
            examples: of this client, which weigh its update.
            loss: mean over the training; of this process, where there are several.

        Raises:
            ValueError: the trainer has not run the callback.

        """
        if self.callback.changes_steps and not self.callback.steps:
            raise ValueError(
                "no step was corrected: expected Trainer(callbacks=[taken.callback]), "
                "and a training of at least one step"
            )
        self._unwrap()
        sent, plan = self.instructions, self.instructions.plan
        trained = self.backbone.collect()
        sent.state.keep_own(trained.named_tensors(), plan)
        upload = self.half.finish(self.start, trained, sent.rank)
        tensors = only(upload.tensors, plan.up)
        content: dict[str, Any] = {wire.ARRAYS: wire.encode_tensors(tensors)}
        if upload.slots:
            content[wire.SLOTS] = wire.encode_tensors(upload.slots)
        if upload.extra:
            content[wire.EXTRA] = wire.encode_tensors(upload.extra)
        metrics: dict[str, int | float] = {
            wire.EXAMPLES: examples,
            wire.LOSS: _mean_over_processes(loss, self.backbone.device),
            wire.SECONDS: time.perf_counter() - self._clock,
            wire.RANK: upload.rank,
        }
        pruned = upload.rank if upload.pruned else None
        if uploads := self.correction.finish(None, pruned):
            content[wire.CORRECTION] = wire.encode_tensors(uploads)
            metrics[wire.CORRECTION_LOST] = int(self.correction.lost)
        content[wire.METRICS] = MetricRecord({**metrics})
        return RecordDict(content)

    def _unwrap(self) -> None:
        """Take off what trainers have put around ``forward``.

        Mixed precision of accelerate and TRL's head do so, and a process that serves
        several clients, or rounds, has one model.
        """
        for module, forward in self._forwards.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward
            vars(module).pop("_original_forward", None)


def _check(correction: ClientCorrection) -> None:
    plain, kind = ClientCorrection, type(correction)
    if correction.trains_apart or kind.again is not plain.again:
        name = kind.__name__.removesuffix("Client")
        raise ValueError(
            f"{name} replaces the optimizer or the passes of local training, which are "
            "a Trainer's own: expected control variates (control_estimator = "
            "'local-mean'), FedProx, FedZMG or no drift correction"
        )


def _check_settings(backbone: Backbone) -> None:
    if backbone.settings.use_rslora:
        raise ValueError(
            "use-rslora = true: expected false, as rsLoRA is a group of the optimizer "
            "for B, and the optimizer is a Trainer's own"
        )


def _mean_loss(backbone: Backbone) -> None:
    """Have a Trainer take a classifier's loss for what it is: the mean of a batch.

    Some, BERT's among them, accept ``num_items_in_batch`` and make nothing of it. A
    Trainer counts on it, and multiplies the gradient by the number of batches that it
    adds up, and by that of processes.
    """
    if kind(backbone.settings.task).has_head:
        model: Any = backbone.model
        model.get_base_model().accepts_loss_kwargs = False


def _mean_over_processes(value: float, device: torch.device) -> float:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = torch.tensor(value, device=device)
    distributed.all_reduce(total)
    return float(total) / distributed.get_world_size()
