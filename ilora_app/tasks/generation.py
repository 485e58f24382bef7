"""Answers that a language model writes, held against the right ones."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.causal_lm import LanguageExamples
from ilora_app.tasks.seq2seq import SequenceExamples

_MARK = "the answer"
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
    stops = stop_tokens(tokenizer, backbone.model)
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
        texts = answers(tokenizer, written[:, longest:].tolist(), stops)
        for i, text in zip(chosen, texts, strict=True):
            wanted = final_number(examples.answers[i])
            right += wanted is not None and final_number(text) == wanted
    return right / len(order)


def stop_tokens(tokenizer: Any, model: Any) -> list[int]:
    """Tokens that end an answer, rising.

    End-of-text of the tokenizer, which training puts behind every answer; what the
    model's generation config and config name; and the special token that the chat
    template puts behind an answer, which none of the others need name.

    Args:
        tokenizer: with or without a chat template.
        model: of transformers, or of PEFT around one.

    """
    found = {tokenizer.eos_token_id, _end_of_turn(tokenizer)}
    for config in (getattr(model, "generation_config", None), model.config):
        named = getattr(config, "eos_token_id", None)
        found |= set(named) if isinstance(named, list | tuple) else {named}
    return sorted(int(token) for token in found if token is not None)


def answers(
    tokenizer: Any, written: Sequence[Sequence[int]], stops: Sequence[int]
) -> list[str]:
    """Decode what was written, each up to the first token that ends it."""
    ends = set(stops)
    cut = [
        list(tokens[: next((i for i, t in enumerate(tokens) if t in ends), None)])
        for tokens in written
    ]
    texts: list[str] = tokenizer.batch_decode(cut, skip_special_tokens=True)
    return texts


def _end_of_turn(tokenizer: Any) -> int | None:
    """The added token that the chat template writes first behind an answer."""
    if tokenizer.chat_template is None:
        return None
    turns = [
        {"role": "user", "content": "a question"},
        {"role": "assistant", "content": _MARK},
    ]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # what stands in a template may raise anything
        return None
    _, _, after = text.rpartition(_MARK)
    ids = tokenizer(after.lstrip(), add_special_tokens=False)["input_ids"]
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None


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
