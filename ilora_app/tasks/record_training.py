r"""Local training of which no single row can be told: DP-SGD, by Opacus.

A step draws each row by itself with probability q, has Opacus' hooks on the trained
linear layers keep the gradient g_i of each row's own loss, and goes along

    (sum_i min(1, C / ||g_i||) g_i + z C N(0, I)) / (q n),

||g_i|| being over all that trains together (Abadi et al., CCS 2016, arXiv 1607.00133).
Under rsLoRA g_i is that of a client's own factors, as in tasks/optimizers.py.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from ilora_app.privacy.noise import Choose, Draw, chosen, gaussian, unforeseen
from ilora_app.settings import TrainingSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.losses import row_terms
from ilora_app.tasks.models import ModelError
from ilora_app.tasks.optimizers import groups_of, make_optimizer, reaches_of
from ilora_app.tasks.row_checks import heeds_padding, mixing_layer
from ilora_app.tasks.training import Outcome, unfrozen

CUT = (
    "dp = 'record': a plain text longer than max-length is several examples, and each "
    "would be clipped by itself: expected an answer-column, or conversations"
)


@dataclass(frozen=True)
class Noise:
    """How a node's rows are hidden.

    Attributes:
        clip: C.
        multiplier: z.
        rate: q.
        steps: of a round.
        draw: makes standard normal numbers of a shape.
        choose: draws rows.
        seed: of a step's dropout and augmentation. Who could draw them again would
            know how rows that come or go move those of all others.

    """

    clip: float
    multiplier: float
    rate: float
    steps: int
    draw: Draw = gaussian
    choose: Choose = chosen
    seed: Callable[[], int] = unforeseen


def train(
    backbone: Backbone,
    examples: Examples,
    settings: TrainingSettings,
    trained: Collection[str],
    head_rate: float,
    noise: Noise,
) -> Outcome:
    """Train what the backbone holds for one round.

    Args:
        backbone: with the received model installed; trained in place.
        examples: at least one.
        settings: optimizer, rate, and how many rows are computed at once at most.
        trained: names of the parameters to train; all others are frozen.
        head_rate: factor on the learning rate for the head.
        noise: the rest.

    Returns:
        With a loss of 0: that of rows is not said.

    Raises:
        ModelError: gradients of single rows cannot be had of this model, or of a row
            that is several examples.

    """
    clock = time.perf_counter()
    check(backbone, examples)
    generator = torch.Generator()
    parameters = unfrozen(backbone, trained)
    rslora = backbone.settings.use_rslora
    groups = groups_of(parameters, settings, head_rate, rslora)
    size = noise.rate * len(examples)
    named = reaches_of(parameters, rslora)
    reaches = {parameter: named[name] for name, parameter in parameters.items()}
    optimizer = _private(make_optimizer(groups, settings), noise, size, reaches)
    most = max(1, settings.batch_size // settings.gradient_accumulation)
    if heeds_padding(backbone, examples):
        most = 1  # or a long row that comes or goes would move all others
    backbone.model.train()
    hooks = _hooks(backbone.model)
    try:
        for _ in range(noise.steps):
            torch.manual_seed(noise.seed())
            generator.manual_seed(noise.seed())
            rows = noise.choose(len(examples), noise.rate)
            parts = [rows[i : i + most] for i in range(0, len(rows), most)] or [[]]
            for part in parts:
                optimizer.zero_grad(set_to_none=True)
                _backward(backbone, examples, part, generator, parameters.values())
                _scale(reaches)
                optimizer.signal_skip_step(part is not parts[-1])
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    finally:
        hooks.cleanup()
    return Outcome(examples.count, 0.0, time.perf_counter() - clock)


def check(backbone: Backbone, examples: Examples) -> None:
    """Look whether every row of some data has a gradient of its own.

    Raises:
        ModelError: a row is several examples, or a layer sees other rows than these.

    """
    if not examples.one_each:
        raise ModelError.openly(CUT)
    if layer := mixing_layer(backbone, examples):
        raise _refused(f"{layer} sees other rows than its examples")
    for name, module in backbone.head_modules():
        if isinstance(module, nn.LayerNorm) and module.bias is None:
            raise _refused(f"{name} normalises without a bias")


def _backward(
    backbone: Backbone,
    examples: Examples,
    rows: list[int],
    generator: torch.Generator,
    parameters: Collection[Any],
) -> None:
    """Have the hooks keep the gradient of every row.

    Raises:
        ModelError: a layer sees parts of a row as rows of their own, which would be
            clipped one by one.

    """
    if not rows:
        for parameter in parameters:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        return
    batch = examples.batch(rows, generator)
    try:
        losses: Any = losses_of(backbone, batch)
    except RuntimeError as error:
        if "inplace" not in str(error):
            raise
        why = (
            "what a layer gives is changed in place (Wav2Vec2's kin; not AST, Whisper)"
        )
        raise _refused(why) from error
    losses.sum().backward()
    for parameter in parameters:
        kept = getattr(parameter, "grad_sample", None)
        if not isinstance(kept, Tensor) or len(kept) != len(rows):
            raise _refused("a layer sees other rows than its examples")


def _scale(reaches: Mapping[Any, float]) -> None:
    """Have rows count as q g: what is clipped is of a client's own factors."""
    for parameter, q in reaches.items():
        if q != 1.0:
            parameter.grad_sample = q * parameter.grad_sample


def losses_of(backbone: Backbone, batch: Batch) -> Tensor:
    """Loss of every row by itself: of a text the mean over its own tokens."""
    logits = backbone.forward(batch).logits.float()
    labels = batch["labels"].to(backbone.device)
    terms, learned = row_terms(backbone.settings.task)(logits, labels)
    return terms.sum(dim=1) / learned.sum(dim=1).clamp(min=1)


def _hooks(model: nn.Module) -> Any:
    """Opacus' hooks on what trains.

    Raises:
        ModelError: it has none for a layer, or rows are mixed before any hook sees
            them.

    """
    from opacus.grad_sample import GradSampleHooks

    mixed = sorted(n for n, m in model.named_modules() if isinstance(m, _BatchNorm))
    why = f"{mixed[0]} normalises over the rows of a batch" if mixed else ""
    if not why:
        try:
            return GradSampleHooks(model, loss_reduction="sum")
        except NotImplementedError as error:
            why = str(error)
    raise _refused(why)


def _refused(why: str) -> ModelError:
    return ModelError.openly(
        f"dp = 'record': gradients of single rows cannot be had of this model: {why}"
    )


def _private(
    optimizer: Optimizer, noise: Noise, size: float, reaches: Mapping[Any, float]
) -> Any:
    """Opacus' optimizer around one, with noise that no seed repeats."""
    from opacus.optimizers import DPOptimizer
    from opacus.optimizers.optimizer import _check_processed_flag, _mark_as_processed

    class Private(DPOptimizer):  # type: ignore[misc]
        """Adds z C N(0, I) of ``noise.draw``."""

        def add_noise(self) -> None:
            """As Opacus does, with other numbers."""
            for parameter in self.params:
                whole = parameter.summed_grad
                _check_processed_flag(whole)
                drawn = noise.draw(whole.shape).to(whole)
                total = whole + self.noise_multiplier * self.max_grad_norm * drawn
                # A step is one along g, not along q g.
                total = (
                    total if reaches[parameter] == 1.0 else total / reaches[parameter]
                )
                parameter.grad = total.view_as(parameter)
                _mark_as_processed(whole)

    return Private(
        optimizer,
        noise_multiplier=noise.multiplier,
        max_grad_norm=noise.clip,
        expected_batch_size=size,
    )
