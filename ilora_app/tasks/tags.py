"""Token classification: words and a tag for each -> batches of tokens.

The first token of a word carries its tag; the others, and words behind ``max-length``
tokens, carry none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

from ilora_app.settings import DataSettings
from ilora_app.tasks import cache, labelling
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.label_lists import values, words_in
from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.task_metrics import TagScores
from ilora_app.tasks.text import filled, never_empty, token_blanks

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, list[int]]


@dataclass(frozen=True)
class TagExamples(Examples):
    """Tokenised words with the tags of their first tokens, in a fixed order."""

    rows: list[Row]
    tags: tuple[str, ...]
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pad the rows at ``indices`` to their longest: tensors of (batch, length)."""
        return filled([self.rows[i] for i in indices], self.blanks())

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As the tokenizer pads; what is padded has no tag."""
        blank = token_blanks(self.tokenizer)
        return blank | {"labels": (IGNORED, blank["input_ids"][1])}

    def order(self) -> list[int]:
        """The short ones first, so that little is padding."""
        return sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))

    def weight(self, batch: Batch) -> int:
        """Count the words."""
        return int((batch["labels"] != IGNORED).sum())

    def scores(self) -> TagScores:
        """Loss, accuracy of tags, F1 of entities."""
        return TagScores(self.tags)


def tokenise(
    data: Dataset,
    settings: DataSettings,
    labels: tuple[str, ...],
    tokenizer: Any,
    where: str,
) -> TagExamples:
    """Tokenise words, cutting at ``max-length`` tokens.

    Raises:
        DataError: a row has another number of tags than of words, or a tag is none of
            ``labels``.

    """
    if len(data) == 0:
        return TagExamples([], labels, tokenizer)
    tags = labelling.of_task("token-classification").read(data, settings, labels, where)
    words = values(data, settings.text_columns, words_in)

    def encode() -> list[Row]:
        encoded = split_words(tokenizer, words, settings.max_length)
        rows = []
        for i, those in enumerate(tags):
            firsts = first_tokens(encoded, i)
            row = {key: encoded[key][i] for key in encoded}
            found = [IGNORED] * len(row["input_ids"])
            for place, word in firsts:
                found[place] = those[word]
            rows.append(row | {"labels": found})
        return rows

    how = (settings.text_columns, settings.label_column, labels, settings.max_length)
    found = never_empty(cache.rows(data, tokenizer, how, encode), tokenizer)
    return TagExamples(found, labels, tokenizer)


def split_words(tokenizer: Any, words: Sequence[Sequence[str]], length: int) -> Any:
    """Tokenise words that are apart already.

    Tokenizers that take a space for a part of a word want to be told so: their own
    attribute, which is saved with them, and what splits the words.
    """
    if hasattr(tokenizer, "add_prefix_space"):
        tokenizer.add_prefix_space = True
        splits = tokenizer.backend_tokenizer.pre_tokenizer
        if isinstance(splits, ByteLevel):
            splits.add_prefix_space = True
    written = [list(row) or [""] for row in words]
    return tokenizer(
        written, is_split_into_words=True, truncation=True, max_length=length
    )


def first_tokens(encoded: Any, row: int) -> list[tuple[int, int]]:
    """Place of the first token of each word of a row, and the number of the word."""
    numbers = encoded.word_ids(row)
    return [
        (place, word)
        for place, word in enumerate(numbers)
        if word is not None and (place == 0 or numbers[place - 1] != word)
    ]


def joined(parts: Sequence[TagExamples]) -> TagExamples:
    """Put examples of one tokenizer behind one another."""
    rows = [row for part in parts for row in part.rows]
    return TagExamples(rows, parts[0].tags, parts[0].tokenizer)
