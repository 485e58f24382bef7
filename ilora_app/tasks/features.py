"""The features that a classifier's last layer sees, and the sums that solve it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ilora_app.lora.ridge import RidgeSums
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Examples
from ilora_app.tasks.models import ModelError


@dataclass(frozen=True)
class OutputLayer:
    """The last linear layer of a classifier.

    Attributes:
        name: of its parameters in the head, such as ``classifier``.
        features: h, what goes into it.
        classes: C, what comes out.
        bias: it has one.

    """

    name: str
    features: int
    classes: int
    bias: bool


def output_layer(backbone: Backbone) -> OutputLayer:
    """Find the last linear layer of the head that gives the classes.

    Raises:
        ModelError: the head has none.

    """
    name, layer = _find(backbone)
    bias = layer.bias is not None
    return OutputLayer(name, layer.in_features, layer.out_features, bias)


@torch.inference_mode()
def features_of(
    backbone: Backbone, examples: Examples, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute what the last layer sees, (batch, d), and the labels, batch by batch.

    As the backbone stands, without dropout.

    Raises:
        ModelError: the head has no linear layer that gives the classes.

    """
    _, layer = _find(backbone)
    backbone.model.eval()
    with _as_identity(layer):
        for batch in examples.batches(batch_size):
            labels = batch.pop("labels")
            yield backbone.forward(batch).logits.float().cpu(), labels


@torch.inference_mode()
def ridge_sums(backbone: Backbone, examples: Examples, batch_size: int) -> RidgeSums:
    """Add up features and labels of examples.

    Raises:
        ModelError: the head has no linear layer that gives the classes.

    """
    _, layer = _find(backbone)
    total = RidgeSums.zeros(layer.in_features, layer.out_features)
    for features, labels in features_of(backbone, examples, batch_size):
        total += RidgeSums.of(features, labels, layer.out_features)
    return total


def _find(backbone: Backbone) -> tuple[str, nn.Linear]:
    classes = backbone.config.num_labels
    found = [
        (name, module)
        for name, module in backbone.head_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    if not found:
        raise ModelError.openly(
            f"head = 'ridge': expected trained, as no linear layer of the head gives "
            f"{classes} classes"
        )
    return found[-1]


@contextmanager
def _as_identity(layer: nn.Module) -> Iterator[None]:
    """Have a model's logits be what goes into its last layer.

    Whatever the model does behind it, such as choosing the last token, is done to the
    features as well.
    """

    def identity(features: Any) -> Any:
        return features

    vars(layer)["forward"] = identity
    try:
        yield
    finally:
        del vars(layer)["forward"]
