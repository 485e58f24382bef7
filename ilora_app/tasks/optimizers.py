r"""Optimizers of local training, and their parameter groups.

rsLoRA (Kalajdzievski, arXiv 2312.03732) scales the product of a client of rank r by
alpha / sqrt(r). Products travel under one scaling s, which is taken for that of rank 8,
PEFT's default: s_r = s sqrt(8 / r). A client's own factors B', A are then those with
s_r B' A = s B A, so B = q B' with q = sqrt(8 / r), and a step on B' is a step on B of a
group of its own:

    AdamW on B':  rate eta q,    eps / q,  weight decay lambda / q
    SGD on B':    rate eta q^2,            weight decay lambda / q^2

as the gradient of B' is q g_B, which is also what the norm of a gradient is made of.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from ilora_app.lora.factors import group_of, is_magnitude
from ilora_app.settings import TrainingSettings
from ilora_app.tasks.private_adapter import PRIVATE_B

ADAM_EPS = 1e-8
_RANK = 8
"""Whose scaling under rsLoRA is s."""


def groups_of(
    parameters: Mapping[str, nn.Parameter],
    settings: TrainingSettings,
    head_rate: float,
    rslora: bool = False,
) -> Any:
    """Parameter groups: the head where its rate is another, B where it has a q.

    Args:
        parameters: by flat name; B of shape (..., d_out, r).
        settings: optimizer, rate, weight decay.
        head_rate: factor on the rate for the head.
        rslora: B trains as under rsLoRA.

    """
    reaches = reaches_of(parameters, rslora)
    if head_rate == 1.0 and all(q == 1.0 for q in reaches.values()):
        return list(parameters.values())
    apart: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        head = group_of(name) == "head" and not is_magnitude(name)
        factor = head_rate if head else 1.0
        apart.setdefault((factor, reaches[name]), []).append(parameter)
    return [
        {"params": some, **_of_group(settings, factor, q)}
        for (factor, q), some in apart.items()
    ]


def reaches_of(parameters: Mapping[str, Tensor], rslora: bool) -> dict[str, float]:
    """q of every parameter: sqrt(8 / r) of B under rsLoRA, else 1.

    Args:
        parameters: by flat name; B of shape (..., d_out, r).
        rslora: B trains as under rsLoRA.

    """
    return {
        name: math.sqrt(_RANK / parameter.shape[-1])
        if rslora and group_of(name) in ("lora_B", PRIVATE_B)
        else 1.0
        for name, parameter in parameters.items()
    }


def clip(parameters: Mapping[str, nn.Parameter], most: float, rslora: bool) -> None:
    """Scale all gradients down to a norm of q g; as torch's where q is 1 throughout.

    Args:
        parameters: by flat name, with or without a gradient.
        most: the largest norm.
        rslora: B trains as under rsLoRA.

    """
    reaches = reaches_of(parameters, rslora)
    held = {n: p.grad for n, p in parameters.items() if p.grad is not None}
    counted = [g if reaches[n] == 1.0 else reaches[n] * g for n, g in held.items()]
    norm = nn.utils.get_total_norm(counted)
    nn.utils.clip_grads_with_norm_(parameters.values(), most, norm)


def make_optimizer(groups: Any, settings: TrainingSettings) -> Optimizer:
    """Make the optimizer that the settings name."""
    rate = settings.learning_rate
    if settings.optimizer == "sgd":
        return SGD(
            groups,
            lr=rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    return AdamW(groups, lr=rate, eps=ADAM_EPS, weight_decay=settings.weight_decay)


def _of_group(settings: TrainingSettings, factor: float, q: float) -> dict[str, float]:
    """Rate, and where there is a q weight decay and eps, of a group."""
    rate, decay = settings.learning_rate * factor, settings.weight_decay
    if q == 1.0:
        return {"lr": rate}
    if settings.optimizer == "sgd":
        return {"lr": rate * q**2, "weight_decay": decay / q**2}
    return {"lr": rate * q, "weight_decay": decay / q, "eps": ADAM_EPS / q}
