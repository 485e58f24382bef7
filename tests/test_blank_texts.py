"""Blank texts, where the tokenizer adds no tokens of its own to a text."""

from dataclasses import replace

import pytest
import torch
from datasets import Dataset

from ilora_app.settings import DataSettings, ModelSettings, TrainingSettings
from ilora_app.tasks import seq2seq, text, training
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.task import TASKS
from tests import tiny_models
from tests.finished import ilora, objects

BLANK = Dataset.from_list(
    [{"text": value, "label": "ab"[i % 2]} for i, value in enumerate(["", None, "  "])]
)
SETTINGS = DataSettings(text_columns="text", label_column="label", max_length=8)


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "llama"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_them_is_trained_and_evaluated(tmp_path, kind, size):
    tiny_models.make(kind, tmp_path)
    model = ModelSettings(model=str(tmp_path / "model"))
    backbone = load_backbone(model, ("a", "b"), 0)
    rows = text.tokenise(BLANK, SETTINGS, ("a", "b"), backbone.processor)
    assert [row["attention_mask"] for row in rows.rows] == [[1]] * 3
    how = TrainingSettings(local_steps=2, batch_size=size)
    assert 0 < training.train(backbone, rows, how, 0).loss < 10
    alone = training.evaluate(backbone, rows, 1)
    assert training.evaluate(backbone, rows, size) == pytest.approx(alone, rel=1e-5)


def test_the_token_is_that_of_the_end_else_that_which_fills_up():
    made = tiny_models.tokenizer()
    empty = {"input_ids": [], "token_type_ids": [], "labels": []}
    full = {"input_ids": [7, 8], "token_type_ids": [0, 1], "labels": [1, 2]}
    for end, pad, token in (("</s>", "<s>", 2), (None, "<s>", 1), (None, None, 0)):
        made.eos_token, made.pad_token = end, pad
        given = {"input_ids": [token], "token_type_ids": [0], "labels": [IGNORED]}
        assert text.never_empty([full, empty], made) == [full, given]


def test_words_and_prompts_that_are_none():
    made = tiny_models.tokenizer()
    made.pad_token = made.eos_token
    tags = Dataset.from_list([{"text": "", "label": ""}] * 2)
    task = TASKS["token-classification"]
    batch = task.encode(tags, SETTINGS, ("O",), made, "the data").batch([0, 1])
    assert batch["input_ids"].shape == batch["labels"].shape == (2, 1)
    settings = replace(SETTINGS, answer_column="label")
    batch = seq2seq.tokenise(BLANK, settings, made).batch([0, 1])
    assert torch.equal(batch["attention_mask"], torch.ones(2, 1, dtype=torch.int64))


def test_they_are_predicted_from(made):
    (found,) = objects(ilora("predict", made["bert"].folder, "", "--json"))
    assert sum(one["probability"] for one in found["labels"]) <= 1.001
