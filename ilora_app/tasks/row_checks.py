"""Whether what trains sees the rows of a batch as they are, and each by itself.

Gradients of single rows, and clients stacked in one batch, are told apart by the first
dimension of what a layer gets. Some models give a layer something else: DeBERTa its
table of positions, Longformer the tokens of all rows first, Swin windows of an image.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ilora_app.settings.kinds import AUDIO
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples, lengthened
from ilora_app.tasks.remembered import plain

_ROWS = (2, 3)  # two numbers, so that no other dimension can be both
_MORE = 8


def mixing_layer(backbone: Backbone, examples: Examples, parts: bool = False) -> str:
    """Name a layer that trains whose first dimension is not the rows; "" without one.

    Args:
        backbone: the model.
        examples: of which the first is looked at, several times over.
        parts: a row may be several entries, as many in every batch.

    """
    if not len(examples):
        return ""
    batch = plain(examples).batch([0])
    few, many = (_seen(backbone, _repeated(batch, rows)) for rows in _ROWS)
    for (name, a), (_, b) in zip(few, many, strict=False):
        each, rest = divmod(len(a), _ROWS[0])
        if rest or len(b) != each * _ROWS[1] or (each != 1 and not parts):
            return name
    return ""


def heeds_padding(backbone: Backbone, examples: Examples) -> bool:
    """Whether what a row is filled up with moves what layers see of it.

    Then so does another row of its batch, which says how much that is.

    Args:
        backbone: the model.
        examples: of which the shortest is filled up.

    """
    own = plain(examples)
    if backbone.settings.task == AUDIO:
        return not own.alone  # nothing is filled up where all are of one length
    batch = own.batch(own.order()[:1]) if len(own) else {}
    blanks = {key: how for key, how in own.blanks().items() if key in batch}
    if not blanks:
        return False
    # No row is longer than the model takes; where the shortest is that long, none
    # is filled up.
    room = backbone.longest - max(batch[key].shape[1] for key in blanks)
    more = max(0, min(_MORE, room))
    longer = batch | {
        key: lengthened(batch[key], batch[key].shape[1] + more, value, left)
        for key, (value, left) in blanks.items()
    }
    left = any(left for _, left in blanks.values())
    close = 1e-4 if backbone.settings.dtype == "float32" else 1e-2
    one, other = _seen(backbone, batch), _seen(backbone, longer)
    return len(one) != len(other) or not all(
        _close(x, y, left, close) for (_, x), (_, y) in zip(one, other, strict=True)
    )


def _close(one: Tensor, longer: Tensor, left: bool, how: float) -> bool:
    """Whether they are the same but for what was filled up."""
    if one.dim() > 1 and one.shape[1] < longer.shape[1]:
        n = one.shape[1]
        longer = longer[:, -n:] if left else longer[:, :n]
    if one.shape != longer.shape:
        return False
    one, longer = one.float(), longer.float()
    return bool((one - longer).norm() <= how * one.norm())


def _repeated(batch: Batch, rows: int) -> Batch:
    return {k: v.repeat(rows, *[1] * (v.dim() - 1)) for k, v in batch.items()}


@torch.no_grad()
def _seen(backbone: Backbone, batch: Batch) -> list[tuple[str, Tensor]]:
    """What each layer that trains gets of a batch in evaluation, and the logits."""
    found: list[tuple[str, Tensor]] = []

    def note(name: str, module: nn.Module, args: Any, given: dict[str, Any]) -> None:
        tensors = (x for x in (*args, *given.values()) if isinstance(x, Tensor))
        found.append((name, next(tensors)))

    handles = [
        module.register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name, module in (*backbone.layers(), *backbone.heads())
    ]
    training = backbone.model.training
    backbone.model.eval()
    try:
        logits = backbone.forward(batch).logits
    finally:
        backbone.model.train(training)
        for handle in handles:
            handle.remove()
    return [*found, ("the output", logits)]
