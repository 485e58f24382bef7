"""Optimizers of local training, and their parameter groups."""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from ilora_app.lora.factors import group_of
from ilora_app.settings import TrainingSettings


def groups_of(
    parameters: Mapping[str, nn.Parameter], settings: TrainingSettings, head_rate: float
) -> Any:
    """Parameter groups; the head is one of its own where its rate is another."""
    rate = settings.learning_rate
    groups: Any = list(parameters.values())
    if head_rate != 1.0:
        apart: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for name, parameter in parameters.items():
            apart[group_of(name) == "head"].append(parameter)
        groups = [
            {"params": some, "lr": rate * head_rate if is_head else rate}
            for is_head, some in apart.items()
            if some
        ]
    return groups


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
    return AdamW(groups, lr=rate, weight_decay=settings.weight_decay)
