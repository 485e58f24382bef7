"""Answers that a language model writes, held against the right ones."""

import re

import torch

from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.causal_lm import LanguageExamples
from ilora_app.tasks.seq2seq import SequenceExamples

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@torch.inference_mode()
def exact_match(
    backbone: Backbone, examples: LanguageExamples, tokens: int, batch_size: int
) -> float:
    """Part of the answers whose last number is that of the right answer.

    Args:
        backbone: with the model installed.
        examples: with their prompts.
        tokens: to write at most, the likeliest one each time.
        batch_size: prompts at a time.

    """
    backbone.model.eval()
    tokenizer = examples.tokenizer
    order = sorted(range(len(examples.prompts)), key=lambda i: len(examples.prompts[i]))
    right = 0
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = max(len(examples.prompts[i]) for i in chosen)
        padded = [
            [int(tokenizer.pad_token_id)] * (longest - len(examples.prompts[i]))
            + examples.prompts[i]
            for i in chosen
        ]
        mask = [
            [0] * (longest - len(examples.prompts[i])) + [1] * len(examples.prompts[i])
            for i in chosen
        ]
        written = backbone.generate(torch.tensor(padded), torch.tensor(mask), tokens)
        texts = tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            wanted = final_number(examples.answers[i])
            right += wanted is not None and final_number(text) == wanted
    return right / len(order)


@torch.inference_mode()
def same_text(
    backbone: Backbone, examples: SequenceExamples, tokens: int, batch_size: int
) -> float:
    """Part of the answers that an encoder-decoder writes as they are.

    Case, and how many spaces there are, do not count.

    Args:
        backbone: with the model installed.
        examples: with their answers.
        tokens: to write at most, the likeliest one each time.
        batch_size: prompts at a time.

    """
    backbone.model.eval()
    order, right = examples.order(), 0
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = examples.batch(chosen)
        written = backbone.generate(batch["input_ids"], batch["attention_mask"], tokens)
        texts = examples.tokenizer.batch_decode(written, skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            right += _words(text) == _words(examples.answers[i])
    return right / len(order)


def _words(text: str) -> list[str]:
    return text.casefold().split()


def final_number(text: str) -> float | None:
    """Read the last number in a text; commas group its digits."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
