"""Causal language models: prompts and answers -> batches of tokens.

Only the tokens of the answer, and the end-of-text token behind it, are learned; of a
conversation what the assistant says; of a plain text all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from ilora_app.settings import DataSettings
from ilora_app.settings.options import names
from ilora_app.tasks import cache, chat, token_rows
from ilora_app.tasks.examples import Batch, Examples
from ilora_app.tasks.metrics import IGNORED, TokenScores
from ilora_app.tasks.splits import is_list
from ilora_app.tasks.token_rows import Row

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class LanguageExamples(Examples):
    """Tokenised prompts with their answers, in a fixed order."""

    rows: list[Row]
    prompts: list[list[int]]
    answers: list[str]
    tokenizer: PreTrainedTokenizerBase
    one_each: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """Rows before packing."""
        return len(self.prompts)

    def batch(
        self, indices: list[int], generator: torch.Generator | None = None
    ) -> Batch:
        """Pad on the right to the longest row: tensors of (batch, length)."""
        rows = [self.rows[i] for i in indices]
        longest = max(len(row["input_ids"]) for row in rows)
        blank = {key: value for key, (value, _) in self.blanks().items()}
        filled: dict[str, list[list[int]]] = {key: [] for key in blank}
        for row in rows:
            whole = {**row, "attention_mask": [1] * len(row["input_ids"])}
            for key, value in blank.items():
                missing = longest - len(whole[key])
                filled[key].append(whole[key] + [value] * missing)
        return {key: torch.tensor(value) for key, value in filled.items()}

    def blanks(self) -> dict[str, tuple[int, bool]]:
        """Whatever the tokenizer does, on the right: the answer is at the end."""
        return {
            "input_ids": (int(self.tokenizer.pad_token_id), False),
            "labels": (IGNORED, False),
            "attention_mask": (0, False),
        }

    def order(self) -> list[int]:
        """The short ones first, so that little is padding."""
        return sorted(range(len(self)), key=lambda i: len(self.rows[i]["input_ids"]))

    def weight(self, batch: Batch) -> int:
        """Count the tokens that are learned."""
        return int((batch["labels"][:, 1:] != IGNORED).sum())

    def scores(self) -> TokenScores:
        """Loss, accuracy of tokens, perplexity."""
        return TokenScores()


def tokenise(
    data: Dataset, settings: DataSettings, tokenizer: PreTrainedTokenizerBase
) -> LanguageExamples:
    """Tokenise prompts and answers, ``max-length`` tokens together at most.

    Where they are longer, the answer loses its end, down to half of the room, and then
    the prompt its beginning. A conversation loses its beginning; a plain text, which
    has no answer, is cut into rows of ``max-length``.

    Raises:
        DataError: a row holds no conversation, or the tokenizer cannot write it.
        ModelError: the tokenizer has no end-of-text token, and one is learned.

    """
    columns, chats = names(settings.text_columns), False
    answers = [""] * len(data)
    if settings.answer_column:
        written = data[settings.answer_column][:]
        answers = ["" if answer is None else str(answer) for answer in written]
    elif is_list(data, columns[0]):
        chats = True
        answers = [
            chat.last_answer(one, i) for i, one in enumerate(data[columns[0]][:])
        ]

    def encode() -> list[Row]:
        if chats:
            return chat.encoded(data[columns[0]][:], tokenizer, settings.max_length)
        texts = [prompt(row, columns, settings, tokenizer) for row in data]
        if not settings.answer_column:
            eos = token_rows.end(tokenizer)
            ends = [[*_tokens(t, settings, tokenizer), eos] for t in texts]
            return token_rows.cut(ends, settings.max_length)
        rows = []
        for text, answer in zip(texts, answers, strict=True):
            said = tokenizer(answer, add_special_tokens=False)
            rows.append(
                _row(
                    _tokens(text, settings, tokenizer),
                    [*said["input_ids"], token_rows.end(tokenizer)],
                    settings.max_length,
                )
            )
        return rows

    how = (columns, settings.answer_column, settings.prompt_template)
    rows = cache.rows(data, tokenizer, (*how, settings.max_length), encode)
    prompts = [_before_the_answer(row) for row in rows]
    cut = not settings.answer_column and not chats  # a row may be several
    if cut:
        prompts = [[] for _ in range(len(data))]
    if settings.packing:
        rows = token_rows.packed(rows, settings.max_length)
    one_each = not cut and not settings.packing
    return LanguageExamples(rows, prompts, answers, tokenizer, one_each)


def prompt(
    row: dict[str, object],
    columns: Sequence[str],
    settings: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> str:
    """Write the prompt of one row: by template, by chat template, or line by line."""
    values = {name: "" if v is None else str(v) for name, v in row.items()}
    if settings.prompt_template:
        return settings.prompt_template.format_map(values)
    text = "\n".join(values[name] for name in columns if values[name])
    if not _chat(settings, tokenizer):
        return text + "\n"
    written: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
    )
    return written


def prompt_tokens(
    row: dict[str, str],
    columns: Sequence[str],
    settings: DataSettings,
    tokenizer: PreTrainedTokenizerBase,
) -> list[int]:
    """Tokenise the prompt of one row, as training does, uncut."""
    text = prompt(dict(row), columns, settings, tokenizer)
    return _tokens(text, settings, tokenizer)


def joined(parts: Sequence[LanguageExamples]) -> LanguageExamples:
    """Put examples of one tokenizer behind one another."""
    return LanguageExamples(
        [row for part in parts for row in part.rows],
        [ids for part in parts for ids in part.prompts],
        [answer for part in parts for answer in part.answers],
        parts[0].tokenizer,
        all(part.one_each for part in parts),
    )


def _row(asked: list[int], said: list[int], length: int) -> Row:
    """Cut to ``length`` and mark what is learned."""
    room = length - min(len(asked), length // 2)
    said = said[:room]
    asked = asked[max(0, len(asked) - (length - len(said))) :]
    return {"input_ids": asked + said, "labels": [IGNORED] * len(asked) + said}


def _before_the_answer(row: Row) -> list[int]:
    """Tokens up to the last that is not learned."""
    given = [i for i, label in enumerate(row["labels"]) if label == IGNORED]
    return row["input_ids"][: max(given, default=-1) + 1]


def _tokens(
    text: str, settings: DataSettings, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    # A chat template writes the special tokens itself.
    special = not _chat(settings, tokenizer)
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _chat(settings: DataSettings, tokenizer: PreTrainedTokenizerBase) -> bool:
    return not settings.prompt_template and tokenizer.chat_template is not None
