"""Encoder-decoder models: prompts and answers -> batches of tokens.

The encoder reads the prompt; all tokens of the answer, and its end, are learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from ilora_app.settings import DataSettings
from ilora_app.settings.options import names
from ilora_app.tasks import cache, token_rows
from ilora_app.tasks.causal_lm import prompt
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.metrics import IGNORED, TokenScores
from ilora_app.tasks.text import filled, never_empty, token_blanks

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, list[int]]


@dataclass(frozen=True)
class SequenceExamples(Examples):
    """Tokenised prompts with their answers, in a fixed order."""

    rows: list[Row]
    answers: list[str]
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pad to the longest row: tensors of (batch, length), (batch, length said)."""
        return filled([self.rows[i] for i in indices], self.blanks())

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """As the tokenizer pads the prompt; the answer on the right."""
        return token_blanks(self.tokenizer) | {"labels": (IGNORED, False)}

    def order(self) -> list[int]:
        """The short ones first, so that little is padding."""
        return sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))

    def weight(self, batch: Batch) -> int:
        """Count the tokens that are learned."""
        return int((batch["labels"] != IGNORED).sum())

    def scores(self) -> TokenScores:
        """Loss, accuracy of tokens, perplexity."""
        return TokenScores(ahead=0)


def tokenise(
    data: Dataset, settings: DataSettings, tokenizer: PreTrainedTokenizerBase
) -> SequenceExamples:
    """Tokenise prompts and answers, each of ``max-length`` tokens at most.

    Raises:
        ModelError: the tokenizer has no end-of-text token.

    """
    columns = names(settings.text_columns)
    written = data[settings.answer_column][:]
    answers = ["" if answer is None else str(answer) for answer in written]

    def encode() -> list[Row]:
        if not answers:
            return []
        asked = _read(data, columns, settings, tokenizer)
        cut = {"truncation": True, "max_length": settings.max_length}
        said = tokenizer(text_target=answers, add_special_tokens=False, **cut)
        end, rows = token_rows.end(tokenizer), []
        for i, ids in enumerate(said["input_ids"]):
            row = {key: asked[key][i] for key in asked}
            rows.append(row | {"labels": [*ids[: settings.max_length - 1], end]})
        return rows

    how = (columns, settings.answer_column, settings.prompt_template)
    rows = cache.rows(data, tokenizer, ("seq2seq", *how, settings.max_length), encode)
    return SequenceExamples(never_empty(rows, tokenizer), answers, tokenizer)


def prompts(
    rows: Sequence[dict[str, str]],
    columns: Sequence[str],
    settings: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> list[list[int]]:
    """Tokenise the prompts of rows, as training does."""
    found: list[list[int]] = _read(rows, columns, settings, tokenizer)["input_ids"]
    return found


def _read(
    rows: Iterable[Any],
    columns: Sequence[str],
    settings: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> Any:
    """What the encoder reads, cut at the end."""
    texts = [prompt(row, columns, settings, tokenizer).rstrip("\n") for row in rows]
    return tokenizer(texts, truncation=True, max_length=settings.max_length)


def joined(parts: Sequence[SequenceExamples]) -> SequenceExamples:
    """Put examples of one tokenizer behind one another."""
    return SequenceExamples(
        [row for part in parts for row in part.rows],
        [answer for part in parts for answer in part.answers],
        parts[0].tokenizer,
    )
