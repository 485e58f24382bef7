"""What changes gradients in the loop of a Trainer: a callback of transformers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import TrainerCallback

from ilora_app.corrections import StepHook


class DriftCorrectionCallback(TrainerCallback):  # type: ignore[misc]
    r"""Before every step of the optimizer g <- clip(g) + (c - c_k), or what hooks do.

    With g the gradient of the whole accumulated batch, averaged over all processes of
    DistributedDataParallel. What the optimizer reads is changed once a step, behind
    ``on_pre_optimizer_step`` of all callbacks: after accumulation, after the loss scale
    of float16 is taken out, and after ``max_grad_norm``. So the correction is not
    clipped, and c_k, the mean of the gradients before it, is one of clipped gradients.
    A step that float16 skips is not counted. It is the order of ilora's own loop.

    The mean weighs a step by its examples: rows of the batches that the model has seen
    since ``on_step_begin``, on all processes. A packed row is one.

    Args:
        parameters: that train and are shared, by flat name; they must be all that the
            trainer's optimizer holds.
        hooks: of the steps, in order: of a drift correction, of a method.
        penalties: terms of the loss over the parameters, None for none. Their gradients
            are added in ``on_pre_optimizer_step``, and so are not clipped.

    Raises:
        ValueError: from ``on_train_begin``, where the optimizer holds something else,
            as under FSDP and DeepSpeed, which cut parameters up; or where each of
            several processes trains alone.

    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        hooks: Iterable[StepHook | None] = (),
        penalties: Iterable[Callable[[], Tensor] | None] = (),
    ) -> None:
        self.steps = 0
        self._parameters = dict(parameters)
        self._hooks = [hook for hook in hooks if hook]
        self._terms = [term for term in penalties if term]
        self._stepper: Optimizer | None = None
        self._counting: Any = None
        self._seen = 0

    @property
    def changes_steps(self) -> bool:
        """Whether there is anything that a step would lack without it."""
        return bool(self._hooks or self._terms)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Attach the hooks to the optimizer, and count the rows that the model sees."""
        # accelerate's wrapper has no hooks of its own: it calls the one inside.
        stepper = getattr(given["optimizer"], "optimizer", given["optimizer"])
        _check(stepper, self._parameters, given["model"])
        _check_together(args.world_size)
        if stepper is not self._stepper:  # train() may be called again
            for hook in self._hooks:
                hook.attach(stepper)
            self._stepper = stepper
        self._stop_counting()
        self._counting = given["model"].register_forward_pre_hook(
            self._count, with_kwargs=True
        )

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin to count the examples of a step."""
        self._seen = 0

    def on_pre_optimizer_step(
        self, args: Any, state: Any, control: Any, **_: Any
    ) -> None:
        """Tell the hooks the examples of the step, and add the terms' gradients."""
        examples = _of_all_processes(self._seen, self._parameters)
        for hook in self._hooks:
            hook.examples = examples
        if self._terms:
            self._add_terms()
        self.steps += 1

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave the model as it was."""
        self._stop_counting()

    def _stop_counting(self) -> None:
        if self._counting is not None:
            self._counting.remove()
            self._counting = None

    def _count(self, model: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        if not model.training:  # an evaluation between two steps
            return
        tensors = (v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        self._seen += next((len(value) for value in tensors if value.dim()), 0)

    def _add_terms(self) -> None:
        """By ``grad`` and not ``backward``, which would wake up the hooks of DDP."""
        held = [p for p in self._parameters.values() if p.requires_grad]
        total = torch.stack([term().float() for term in self._terms]).sum()
        found = torch.autograd.grad(total, held, allow_unused=True)
        for parameter, gradient in zip(held, found, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient.to(parameter)
            else:
                parameter.grad.add_(gradient)


def _check(
    stepper: Optimizer, parameters: Mapping[str, Tensor], model: nn.Module
) -> None:
    held = {id(p): p for group in stepper.param_groups for p in group["params"]}
    ours = {id(p): name for name, p in parameters.items()}
    if missing := [name for key, name in ours.items() if key not in held]:
        raise ValueError(
            f"the trainer's optimizer does not hold {missing[0]} ({len(missing)} such "
            "tensors): expected all of ClientRound.parameters, whole. Under FSDP and "
            "DeepSpeed they are cut up; use DistributedDataParallel"
        )
    names = {id(p): name for name, p in model.named_parameters()}
    if more := [names.get(key, "a tensor") for key in held if key not in ours]:
        raise ValueError(
            f"the trainer's optimizer holds {more[0]} ({len(more)} such tensors), "
            "which is no part of what this node shares: expected ClientRound.parameters"
            " alone. Freeze the others after ClientRound.begin"
        )


def _check_together(world_size: int) -> None:
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    if there and (processes := torch.distributed.get_world_size()) != world_size:
        raise ValueError(
            f"of {processes} processes the trainer trains in {world_size}, apart from "
            "the others: expected all together. Without GPUs, TrainingArguments takes "
            "use_cpu=True"
        )


def _of_all_processes(number: int, parameters: Mapping[str, Tensor]) -> int:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return number
    device = next(iter(parameters.values())).device
    total = torch.tensor(number, device=device)
    distributed.all_reduce(total)
    return int(total)
