"""The local loop: train, evaluate, and the mean gradient over all data."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ilora_app.settings import TrainingSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.text import Batch, TextExamples


class StepHook(Protocol):
    """Runs before every optimizer step and may change the gradients."""

    examples: int
    """Set by the loop: the number of examples behind the step."""

    def __call__(self, optimizer: Optimizer, *args: object) -> None:
        """Run before the step."""


@dataclass(frozen=True)
class Outcome:
    """What a round of local training came to: examples, mean loss, and seconds."""

    examples: int
    loss: float
    seconds: float


def train(
    backbone: Backbone,
    examples: TextExamples,
    settings: TrainingSettings,
    seed: int,
    trained: Collection[str] | None = None,
    hooks: Iterable[StepHook] = (),
    penalty: Callable[[], Tensor] | None = None,
) -> Outcome:
    """Train what the backbone holds for one round.

    Args:
        backbone: with the received model installed; trained in place.
        examples: at least one.
        settings: optimizer, rate, batch size, steps or epochs.
        seed: of the batches and the dropout.
        trained: names of the parameters to train; all others are frozen. None: all.
        hooks: optimizer step pre-hooks, in order.
        penalty: a term of the loss over the parameters.

    """
    clock = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = _unfrozen(backbone, trained)
    optimizer = _optimizer(list(parameters.values()), settings)
    hooks = list(hooks)
    for hook in hooks:
        optimizer.register_step_pre_hook(hook)
    backbone.model.train()
    total, seen = 0.0, 0
    for batch in examples.training_batches(
        settings.batch_size, settings.local_steps, settings.local_epochs, generator
    ):
        size = len(batch["labels"])
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(backbone, batch)
        whole = loss + penalty() if penalty else loss
        whole.backward()  # type: ignore[no-untyped-call]
        for hook in hooks:
            hook.examples = size
        optimizer.step()
        total += float(loss.detach()) * size
        seen += size
    return Outcome(len(examples), total / seen, time.perf_counter() - clock)


def mean_gradient(
    backbone: Backbone,
    examples: TextExamples,
    batch_size: int,
    trained: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Gradient of the mean loss over all examples, without dropout, by name."""
    backbone.model.eval()
    parameters = _unfrozen(backbone, trained)
    for parameter in parameters.values():
        parameter.grad = None
    for batch in examples.batches(batch_size):
        weight = len(batch["labels"]) / len(examples)
        (weight * _loss(backbone, batch)).backward()  # type: ignore[no-untyped-call]
    gradient = {}
    for name, parameter in parameters.items():
        found = parameter.grad
        gradient[name] = torch.zeros_like(parameter) if found is None else found
        parameter.grad = None
    return {name: value.detach().float().cpu() for name, value in gradient.items()}


@torch.inference_mode()
def evaluate(
    backbone: Backbone, examples: TextExamples, batch_size: int
) -> dict[str, float]:
    """Mean loss and accuracy over all examples."""
    backbone.model.eval()
    loss, correct = 0.0, 0
    for batch in examples.batches(batch_size):
        batch = {key: value.to(backbone.device) for key, value in batch.items()}
        output = backbone.model(**batch)
        loss += float(output.loss) * len(batch["labels"])
        correct += int((output.logits.argmax(dim=-1) == batch["labels"]).sum())
    return {"loss": loss / len(examples), "accuracy": correct / len(examples)}


def _loss(backbone: Backbone, batch: Batch) -> Tensor:
    moved = {key: value.to(backbone.device) for key, value in batch.items()}
    loss: Tensor = backbone.model(**moved).loss
    return loss


def _unfrozen(
    backbone: Backbone, trained: Collection[str] | None
) -> dict[str, nn.Parameter]:
    """Freeze everything but what is trained, and return that."""
    found = {}
    for name, parameter in backbone.parameters().items():
        chosen = trained is None or name in trained
        parameter.requires_grad_(chosen)
        if chosen:
            found[name] = parameter
    return found


def _optimizer(parameters: list[Tensor], settings: TrainingSettings) -> Optimizer:
    if settings.optimizer == "sgd":
        return SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
