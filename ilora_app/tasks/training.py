"""The local loop: train, evaluate, and the mean gradient over all data."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from ilora_app.corrections import StepHook
from ilora_app.settings import TrainingSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.deadline import Deadline
from ilora_app.tasks.examples import Batch, Examples, Scores
from ilora_app.tasks.optimizers import clip, groups_of, make_optimizer

MakeOptimizer = Callable[[Any, TrainingSettings], Optimizer]
Gradient = Callable[[Callable[[], Tensor]], Tensor]

_FIRST_SCALE = 1024.0
"""Of a float16 loss: low enough that the few steps of a round are rarely skipped."""


@dataclass(frozen=True)
class Outcome:
    """What a round of local training came to: examples, mean loss, and seconds."""

    examples: int
    loss: float
    seconds: float


def train(
    backbone: Backbone,
    examples: Examples,
    settings: TrainingSettings,
    seed: int,
    trained: Collection[str] | None = None,
    hooks: Iterable[StepHook] = (),
    penalties: Iterable[Callable[[], Tensor] | None] = (),
    head_rate: float = 1.0,
    optimizer: MakeOptimizer | None = None,
    gradient: Gradient | None = None,
    beside: Mapping[str, nn.Parameter] | None = None,
    deadline: Deadline | None = None,
) -> Outcome:
    """Train what the backbone holds for one round.

    Args:
        backbone: with the received model installed; trained in place.
        examples: at least one.
        settings: optimizer, rate, batch size, steps or epochs.
        seed: of the batches and the dropout.
        trained: names of the parameters to train; all others are frozen. None: all.
        hooks: of the optimizer, in order.
        penalties: terms of the loss over the parameters; None is no term.
        head_rate: factor on the learning rate for the head.
        optimizer: makes it from parameter groups; None as the settings say.
        gradient: runs the passes of a step, given one that adds up the gradient of the
            loss and returns the loss; None runs one.
        beside: parameters that train too, with an optimizer of their own as the
            settings say, without hooks and terms.
        deadline: ends the round before all its steps are taken.

    """
    clock = time.perf_counter()
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = unfrozen(backbone, trained)
    if not parameters:  # there is nothing to train: only the loss is of interest
        found = evaluate(backbone, examples, settings.eval_batch_size)["loss"]
        return Outcome(examples.count, found, time.perf_counter() - clock)
    rslora = backbone.settings.use_rslora
    made = (optimizer or make_optimizer)(
        groups_of(parameters, settings, head_rate, rslora), settings
    )
    steppers: list[tuple[Optimizer, Mapping[str, nn.Parameter]]] = [(made, parameters)]
    if beside:
        groups = groups_of(beside, settings, 1.0, rslora)
        steppers.append((make_optimizer(groups, settings), beside))
    hooks, terms = list(hooks), [term for term in penalties if term]
    for hook in hooks:
        hook.attach(made)
    backbone.model.train()
    scaler = GradScaler(
        backbone.device.type,
        init_scale=_FIRST_SCALE,
        enabled=backbone.settings.dtype == "float16",
    )
    prior = log_prior(examples, backbone, settings.logit_adjustment)
    # Summed on the device: a transfer in every step would wait for all its kernels.
    total = torch.zeros((), dtype=torch.float64, device=backbone.device)
    seen = 0
    for indices in examples.drawn(
        settings.batch_size, settings.local_steps, settings.local_epochs, generator
    ):
        for stepper, _ in steppers:
            stepper.zero_grad(set_to_none=True)
        parts = _parts(indices, settings.gradient_accumulation)
        batches = [examples.batch(part, generator) for part in parts]
        once = partial(_backward, backbone, examples, batches, scaler, terms, prior)
        passes = partial(gradient, once) if gradient else once
        loss, step = (
            deadline.run(passes, len(indices)) if deadline else (passes(), True)
        )
        if not step:
            break
        for hook in hooks:
            hook.examples = len(indices)
        for stepper, stepped in steppers:
            if deadline and all(p.grad is None for p in stepped.values()):
                continue  # out of time before any of these
            scaler.unscale_(stepper)
            if settings.clip_grad_norm:
                clip(stepped, settings.clip_grad_norm, rslora)
            scaler.step(stepper)
        scaler.update()
        if loss is None:  # the last step, in part
            break
        total += loss * len(indices)
        seen += len(indices)
    spent = deadline.elapsed if deadline else time.perf_counter() - clock
    return Outcome(examples.count, float(total) / max(seen, 1), spent)


def mean_gradient(
    backbone: Backbone,
    examples: Examples,
    batch_size: int,
    trained: Collection[str] | None = None,
    adjustment: float = 0.0,
) -> dict[str, Tensor]:
    """Gradient of the mean loss over all examples, without dropout, by name."""
    prior = log_prior(examples, backbone, adjustment)
    backbone.model.eval()
    parameters = unfrozen(backbone, trained)
    for parameter in parameters.values():
        parameter.grad = None
    total = 0
    for batch in examples.batches(batch_size):
        weight = examples.weight(batch)
        scaled: Any = weight * _loss(backbone, batch, prior, weight)
        scaled.backward()
        total += weight
    gradient, total = {}, max(total, 1)
    for name, parameter in parameters.items():
        found = parameter.grad
        gradient[name] = torch.zeros_like(parameter) if found is None else found / total
        parameter.grad = None
    return {name: value.detach().float().cpu() for name, value in gradient.items()}


@torch.inference_mode()
def evaluate(
    backbone: Backbone,
    examples: Examples,
    batch_size: int,
    scores: Scores | None = None,
) -> dict[str, float]:
    """Loss and the metrics of the task over all examples; ``scores`` add them up."""
    backbone.model.eval()
    scores = scores or examples.scores()
    for batch in examples.batches(batch_size):
        scores.add(backbone.forward(batch), batch["labels"].to(backbone.device))
    return scores.result()


def _backward(
    backbone: Backbone,
    examples: Examples,
    batches: list[Batch],
    scaler: GradScaler,
    terms: list[Callable[[], Tensor]],
    prior: Tensor | None,
) -> Tensor:
    """Add up the gradient of the mean loss over all batches; return that loss."""
    weights = [examples.weight(batch) for batch in batches]
    loss = torch.zeros((), dtype=torch.float64, device=backbone.device)
    for batch, weight in zip(batches, weights, strict=True):
        part: Any = _loss(backbone, batch, prior, weight)
        if len(batches) > 1:
            part = part * (weight / max(sum(weights), 1))
        loss += part.detach()
        whole = part
        for term in terms:
            whole = whole + term() / len(batches)
        scaler.scale(whole).backward()
    return loss


def log_prior(
    examples: Examples, backbone: Backbone, adjustment: float
) -> Tensor | None:
    """tau log pi(c), pi(c) = (n_c + 1) / (n + C), of the client's own examples.

    A client whose logits carry its class shares need not learn them, so that under
    label skew all clients share one optimum (local-prior softmax).

    Args:
        examples: with labels from 0 to C - 1.
        backbone: whose logits they are added to.
        adjustment: tau; 0 gives None.

    """
    if not adjustment:
        return None
    classes = backbone.config.num_labels
    labels = torch.cat([batch["labels"] for batch in examples.batches(1024)])
    counts = torch.bincount(labels, minlength=classes).float()
    prior = (counts + 1) / (counts.sum() + classes)
    found: Tensor = adjustment * prior.log().to(backbone.device)
    return found


def _loss(
    backbone: Backbone, batch: Batch, prior: Tensor | None, weight: int
) -> Tensor:
    """Mean loss of a batch: the model's own, or with its logits adjusted."""
    output = backbone.forward(batch)
    if prior is None or not weight:  # a mean over nothing is not a number
        loss: Tensor = output.loss if weight else 0.0 * output.logits.sum()
        return loss
    labels = batch["labels"].to(backbone.device)
    return nn.functional.cross_entropy(output.logits.float() + prior, labels)


def _parts(indices: list[int], number: int) -> list[list[int]]:
    """Cut a batch into at most ``number`` parts of about one size."""
    size = -(-len(indices) // number)
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def unfrozen(
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
