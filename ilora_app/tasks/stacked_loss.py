"""Losses of several clients' batches, in one forward pass of the model they share."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ilora_app.settings.kinds import SEQ2SEQ
from ilora_app.tasks import training
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.examples import Batch, Examples, lengthened
from ilora_app.tasks.losses import row_terms, unlearned


class StackedLosses:
    """The mean loss of each client's batch, in one forward pass."""

    def __init__(
        self, backbone: Backbone, examples: Sequence[Examples], adjustment: float
    ) -> None:
        self._backbone = backbone
        self._blanks = examples[0].blanks()
        self._terms = row_terms(backbone.settings.task)
        priors = [training.log_prior(e, backbone, adjustment) for e in examples]
        found = [prior for prior in priors if prior is not None]
        self._priors = torch.stack(found)[:, None] if found else None  # (K, 1, C)

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Losses of shape (K,)."""
        device = self._backbone.device
        everywhere = batches[0].keys() & set.intersection(*map(set, batches))
        moved = [
            {key: b[key].to(device) for key in b if key in everywhere} for b in batches
        ]
        joint, rows = joined(moved, self._blanks)
        labels = joint["labels"]
        if self._backbone.settings.task != SEQ2SEQ:  # whose decoder reads them
            del joint["labels"]
        logits = self._backbone.forward(joint).logits.float()
        if self._priors is not None:
            apart = logits.unflatten(0, (len(batches), rows)) + self._priors
            logits = apart.flatten(0, 1)
        terms, learned = (
            part.reshape(len(batches), -1).sum(dim=1)
            for part in self._terms(logits, labels)
        )
        return terms / learned.clamp(min=1)  # of a batch with nothing to learn 0


def joined(
    batches: Sequence[Batch], blanks: Mapping[str, tuple[int, bool]]
) -> tuple[Batch, int]:
    """Put batches behind one another, filled up to as many rows of one length.

    Args:
        batches: of tensors (rows, ...), all of the same keys.
        blanks: what fills up a row of a key, and whether on the left; other keys have
            rows of one shape.

    Returns:
        Tensors of shape (K rows, ...), and the rows of each; those that fill up are
        the last row again, with nothing to learn.

    """
    rows = max(len(batch["labels"]) for batch in batches)
    found = {}
    for key in batches[0]:
        parts = [batch[key] for batch in batches]
        if key in blanks:
            value, left = blanks[key]
            longest = max(part.shape[1] for part in parts)
            parts = [lengthened(part, longest, value, left) for part in parts]
        filled = []
        for part in parts:
            missing = part[-1:].expand(rows - len(part), *part.shape[1:])
            if key == "labels":
                missing = torch.full_like(missing, unlearned(missing.dtype))
            filled.append(torch.cat([part, missing]))
        found[key] = torch.cat(filled)
    return found, rows
