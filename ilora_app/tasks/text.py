"""Text classification: rows of a data set -> batches of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from ilora_app.settings import DataSettings
from ilora_app.settings.options import names
from ilora_app.tasks import cache
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.labels import label_ids
from ilora_app.tasks.metrics import ClassScores

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class TextExamples(Examples):
    """Tokenised texts with their class ids, in a fixed order."""

    rows: list[dict[str, list[int]]]
    labels: list[int]
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.labels)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pad the rows at ``indices`` to their longest: tensors of (batch, length)."""
        padded = self.tokenizer.pad(
            [self.rows[i] for i in indices], return_tensors="pt"
        )
        labels = torch.tensor([self.labels[i] for i in indices])
        return {**padded, "labels": labels}

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As the tokenizer pads."""
        left = self.tokenizer.padding_side == "left"
        tokens = int(self.tokenizer.pad_token_id)
        kinds = int(self.tokenizer.pad_token_type_id)
        return {
            "input_ids": (tokens, left),
            "token_type_ids": (kinds, left),
            "attention_mask": (0, left),
        }

    def order(self) -> list[int]:
        """The short ones first, so that little is padding."""
        return sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))

    def scores(self) -> ClassScores:
        """Loss, accuracy and macro F1."""
        return ClassScores()


def tokenise(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    tokenizer: PreTrainedTokenizerBase,
) -> TextExamples:
    """Tokenise the text columns, cutting at ``max-length`` tokens."""
    if len(data) == 0:
        return TextExamples([], [], tokenizer)
    columns = names(settings.text_columns)

    def encode() -> list[dict[str, list[int]]]:
        texts = [["" if t is None else str(t) for t in data[c]] for c in columns]
        encoded = tokenizer(*texts, truncation=True, max_length=settings.max_length)
        return [{key: encoded[key][i] for key in encoded} for i in range(len(data))]

    rows = cache.rows(data, tokenizer, (columns, settings.max_length), encode)
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
