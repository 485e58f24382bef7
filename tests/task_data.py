"""Rows and untrained models of the tasks that go beyond one class a row."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5ForConditionalGeneration

from tests import tiny_models

_WHAT = ("balance", "transfer", "flight", "weather")
_TAGS = ("B-PLACE", "I-PLACE", "O")


def row(task: str, number: int) -> dict[str, Any]:
    """A row that can be learned: which words it has says all there is to say."""
    have = [word for bit, word in enumerate(_WHAT) if number >> bit & 1]
    text = " ".join(["what", "about", *have, "please"])
    if task == "multi-label-classification":
        return {"text": text, "labels": have}
    if task == "regression":
        return {"text": text, "score": 2.0 * len(have) - 4.0 + 0.25 * (number % 3)}
    if task == "token-classification":
        words = ["fly", "to", *have, "or", "new", "york"]
        tags = ["O", "O", *["B-PLACE"] * len(have), "O", "B-PLACE", "I-PLACE"]
        return {"tokens": words, "ner_tags": tags}
    return {"document": text, "summary": " ".join(have) or "nothing"}


def rows(task: str, first: int, last: int) -> list[dict[str, Any]]:
    return [row(task, number) for number in range(first, last)]


def write(folder: Path, task: str, train: int = 90, test: int = 33) -> Path:
    """train.jsonl and test.jsonl of a task."""
    folder.mkdir()
    for name, part in (
        ("train", rows(task, 0, train)),
        ("test", rows(task, train, train + test)),
    ):
        lines = "".join(json.dumps(one) + "\n" for one in part)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


def t5(folder: Path) -> Path:
    """An encoder-decoder of two layers, with its tokenizer."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=tiny_models.WORDS,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


def job(task: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """Run config of a task on its data with a tiny model; other keys have defaults."""
    if task == "seq2seq-lm":
        model = str(t5(folder / "model"))
    else:
        model = tiny_models.make("bert", folder / "bert")["model"]
    return {
        "task": task,
        "model": model,
        "dataset": str(write(folder / "data", task)),
        "max-length": 24,
        "num-server-rounds": 2,
        "client-ranks": "2,4",
        "local-steps": 4,
        "batch-size": 8,
        "learning-rate": 0.01,
        "output-dir": str(folder / "run"),
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
