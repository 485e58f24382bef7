"""Text classification: rows of a data set -> batches of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ilora_app.options import names
from ilora_app.settings import DataSettings
from ilora_app.tasks.data import label_ids

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TextExamples:
    """Tokenised texts with their class ids, in a fixed order."""

    rows: list[dict[str, list[int]]]
    labels: list[int]
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: list[int]) -> Batch:
        """Pad the rows at ``indices`` to their longest: tensors of (batch, length)."""
        padded = self.tokenizer.pad(
            [self.rows[i] for i in indices], return_tensors="pt"
        )
        labels = torch.tensor([self.labels[i] for i in indices])
        return {**padded, "labels": labels}

    def training_batches(
        self, size: int, steps: int, epochs: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        """Shuffled batches: ``steps`` of them, or ``epochs`` epochs where it is 0.

        A batch never holds an example twice: each epoch is a new shuffle, and its
        last batch may be smaller.
        """
        per_epoch = -(-len(self) // size)
        total = steps or epochs * per_epoch
        done = 0
        while done < total:
            order = torch.randperm(len(self), generator=generator).tolist()
            for start in range(0, len(order), size):
                if done == total:
                    return
                yield self.batch(order[start : start + size])
                done += 1

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples once, the short ones first, so that little is padding."""
        order = sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


def tokenise(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
) -> TextExamples:
    """Tokenise the text columns, cutting at ``max-length`` tokens."""
    if len(data) == 0:
        return TextExamples([], [], tokenizer)
    texts = [[str(t) for t in data[c]] for c in names(settings.text_columns)]
    encoded = tokenizer(*texts, truncation=True, max_length=settings.max_length)
    rows = [{key: encoded[key][i] for key in encoded} for i in range(len(texts[0]))]
    feature = data.features[settings.label_column]
    ids = label_ids(list(data[settings.label_column]), feature, labels)
    return TextExamples(rows, ids, tokenizer)


def joined(parts: Sequence[TextExamples]) -> TextExamples:
    """Put examples of one tokenizer behind one another."""
    return TextExamples(
        [row for part in parts for row in part.rows],
        [label for part in parts for label in part.labels],
        parts[0].tokenizer,
    )
