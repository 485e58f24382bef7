"""Rows of tokens of which a language model learns: cut to a length, or packed to it."""

from collections.abc import Iterable, Sequence
from typing import Any

from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.models import ModelError

Row = dict[str, list[int]]


def end(tokenizer: Any) -> int:
    """Id of the end-of-text token.

    Raises:
        ModelError: the tokenizer names none.

    """
    if tokenizer.eos_token_id is None:
        raise ModelError.openly(
            "model: its tokenizer names no end-of-text token, which is learned behind "
            "every answer and plain text; expected eos_token in its "
            "tokenizer_config.json"
        )
    return int(tokenizer.eos_token_id)


def cut(texts: Iterable[list[int]], length: int) -> list[Row]:
    """Cut tokenised texts into rows of at most ``length``, of which all is learned."""
    rows = []
    for ids in texts:
        for start in range(0, len(ids), length):
            part = ids[start : start + length]
            if len(part) > 1:  # the first token of a row is told by none before it
                rows.append({"input_ids": part, "labels": list(part)})
    return rows


def packed(rows: Sequence[Row], length: int) -> list[Row]:
    """Join rows, in their order, into rows of up to ``length`` tokens."""
    full: list[Row] = []
    for row in rows:
        last = full[-1] if full else None
        if last and len(last["input_ids"]) + len(row["input_ids"]) <= length:
            # The first token of a row is not learned from the end of the row before.
            joined_row = {
                "input_ids": last["input_ids"] + row["input_ids"],
                "labels": [*last["labels"], IGNORED, *row["labels"][1:]],
            }
            full[-1] = joined_row
        else:
            full.append(dict(row))
    return full
