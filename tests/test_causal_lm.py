"""Prompts, answers, and which of their tokens are learned."""

import json

import datasets
import pytest
import torch

from ilora_app.server import preflight
from ilora_app.settings import DataSettings, Settings, parsing
from ilora_app.tasks import causal_lm
from ilora_app.tasks.metrics import IGNORED, TokenScores
from ilora_app.tasks.places import DataError
from tests import tiny_models

ROWS = [
    {"q": "how much is it", "more": "today", "a": "five dollars"},
    {"q": "when", "more": None, "a": "at noon"},
]


@pytest.fixture(scope="module")
def tokenizer():
    made = tiny_models.tokenizer()
    made.pad_token = made.eos_token
    return made


def settings(**changes) -> DataSettings:
    named = {"text_columns": "q,more", "answer_column": "a", "max_length": 64}
    return DataSettings(**named | changes)


def examples(tokenizer, rows=ROWS, **changes):
    data = datasets.Dataset.from_list(rows)
    return causal_lm.tokenise(data, settings(**changes), tokenizer)


def learned(row) -> list[int]:
    return [label for label in row["labels"] if label != IGNORED]


def test_the_answer_and_its_end_are_learned_and_nothing_else(tokenizer):
    found = examples(tokenizer)
    for row, source in zip(found.rows, ROWS, strict=True):
        said = tokenizer(source["a"], add_special_tokens=False)["input_ids"]
        assert learned(row) == [*said, tokenizer.eos_token_id]
        assert row["input_ids"][-len(said) - 1 :] == learned(row)
        asked = row["input_ids"][: -len(said) - 1]
        assert set(row["labels"][: len(asked)]) == {IGNORED}


def test_prompts_by_lines_by_template_and_by_chat_template(tokenizer):
    row = ROWS[0]
    columns = ("q", "more")
    assert causal_lm.prompt(row, columns, settings(), tokenizer) == (
        "how much is it\ntoday\n"
    )
    template = settings(prompt_template="Q: {q}\nA: ")
    assert causal_lm.prompt(row, columns, template, tokenizer) == (
        "Q: how much is it\nA: "
    )
    chatty = tiny_models.tokenizer()
    chatty.pad_token = chatty.eos_token
    chatty.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    assert causal_lm.prompt(row, columns, settings(), chatty) == (
        "<s>user: how much is it\ntodayassistant:"
    )
    # The chat template has written the special tokens already.
    ids = examples(chatty).rows[0]["input_ids"]
    assert ids.count(chatty.bos_token_id) == 1


def test_what_is_too_long_loses_the_answer_s_end_and_the_prompt_s_beginning(tokenizer):
    long = [{"q": "one two three " * 20, "more": "last", "a": "four five six " * 20}]
    row = examples(tokenizer, long, max_length=20).rows[0]
    whole = examples(tokenizer, long, max_length=900).rows[0]
    assert len(row["input_ids"]) == len(row["labels"]) == 20
    assert learned(row) == learned(whole)[:10]
    asked = [t for t, n in zip(whole["input_ids"], whole["labels"], strict=True)
             if n == IGNORED]  # fmt: skip
    assert row["input_ids"][:10] == asked[-10:]
    short = [{"q": "hi", "more": "", "a": "four five six " * 20}]
    row = examples(tokenizer, short, max_length=20).rows[0]
    assert (
        row["input_ids"][: row["labels"].count(IGNORED)]
        == (tokenizer("hi\n")["input_ids"])
    )
    assert len(row["input_ids"]) == 20


def test_packing_keeps_every_token_and_learns_no_first_one(tokenizer):
    rows = ROWS * 5
    plain = examples(tokenizer, rows)
    packed = examples(tokenizer, rows, packing=True)
    assert len(packed) < len(plain)
    assert packed.count == plain.count == len(rows)  # n_k
    flat = [token for row in plain.rows for token in row["input_ids"]]
    assert [token for row in packed.rows for token in row["input_ids"]] == flat
    assert sum(len(learned(r)) for r in packed.rows) == (
        sum(len(learned(r)) for r in plain.rows)
    )
    assert max(len(row["input_ids"]) for row in packed.rows) <= 64


def test_padding_is_neither_seen_nor_learned(tokenizer):
    found = examples(tokenizer)
    batch = found.batch([1, 0])
    sizes = [len(found.rows[i]["input_ids"]) for i in (1, 0)]
    assert batch["attention_mask"].sum(dim=1).tolist() == sizes
    assert (batch["labels"][0, sizes[0] :] == IGNORED).all()
    assert found.weight(batch) == sum(len(learned(found.rows[i])) for i in (0, 1))


def test_scores_are_those_of_the_shifted_tokens():
    class Output:
        loss = torch.tensor(0.5)
        logits = torch.zeros(1, 4, 3)

    for place, token in enumerate((2, 1, 0, 2)):
        Output.logits[0, place, token] = 1.0
    scores = TokenScores()
    # After token 0 the likeliest is 2, after 1 it is 1, after 2 it is 0.
    scores.add(Output, torch.tensor([[IGNORED, 2, 1, 1]]))
    found = scores.result()
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["perplexity"] == pytest.approx(2.718281828**0.5)


def test_nothing_to_tell_is_no_division_by_zero():
    class Output:
        loss = torch.tensor(float("nan"))  # as torch's mean over nothing
        logits = torch.zeros(1, 3, 3)

    scores = TokenScores()
    assert scores.result() == {"loss": 0.0, "accuracy": 0.0, "perplexity": 1.0}
    scores.add(Output, torch.full((1, 3), IGNORED))
    assert scores.result() == {"loss": 0.0, "accuracy": 0.0, "perplexity": 1.0}


def test_a_test_split_of_blank_texts_ends_the_run_before_it_starts(tmp_path):
    model = tiny_models.make("llama", tmp_path / "model")["model"]
    (tmp_path / "data").mkdir()
    for name, text in (("train", "book a flight"), ("test", "")):
        lines = json.dumps({"text": text}) + "\n"
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines * 20)
    job = {"task": "causal-lm", "model": model, "dataset": str(tmp_path / "data")}
    with pytest.raises(DataError, match="all 20 rows of the split test are blank"):
        preflight.prepare(parsing.dump(Settings()) | job)
