"""What label columns give each task, what is refused, and what the losses are of."""

import datasets
import numpy as np
import pytest
import torch

from ilora_app.settings import DataSettings
from ilora_app.tasks import labelling, losses, seq2seq, tags, text
from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.places import DataError
from ilora_app.tasks.stacked_loss import joined
from ilora_app.tasks.task_metrics import MultiLabelScores, NumberScores, TagScores
from tests import tiny_models

SETTINGS = DataSettings(text_columns="text", label_column="label", max_length=16)


class Output:
    def __init__(self, logits, loss=0.5):
        self.logits, self.loss = torch.tensor(logits), torch.tensor(loss)


def read(task, rows, names=(), features=None):
    data = datasets.Dataset.from_list(rows, features=features)
    return labelling.of_task(task).read(data, SETTINGS, names, "the test")


@pytest.mark.parametrize("value", [["b", "c"], "b, c", "c;b", "b|c"])
def test_classes_come_as_lists_or_in_a_text(value):
    rows = [{"label": value}, {"label": None}]
    found = read("multi-label-classification", rows, ("a", "b", "c"))
    assert found == [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_schema_names_the_classes_of_lists(tmp_path):
    classes = datasets.List(datasets.ClassLabel(names=["z", "a"]))
    features = datasets.Features({"text": datasets.Value("string"), "label": classes})
    rows = [{"text": "x", "label": [0]}, {"text": "y", "label": [1, 0]}]
    data = datasets.Dataset.from_list(rows * 3, features=features)
    data.to_parquet(tmp_path / "train.parquet")
    settings = DataSettings(
        dataset=str(tmp_path), label_column="label", test_fraction=0.5
    )
    names = labelling.names_of(settings, "multi-label-classification", 0)
    assert names == ("z", "a")
    # The names of another schema, in another order, are those of the federation.
    found = read("multi-label-classification", rows, ("a", "z"), features)
    assert found == [[0.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        ("multi-label-classification", {"label": ["q"]}, "none of|not one of"),
        ("multi-label-classification", {"label": 3}, "expected lists"),
        ("token-classification", {"text": "a b", "label": "a"}, "1 tags for 2 words"),
        ("regression", {"label": "much"}, "holds 'much'; expected a number"),
        ("regression", {"label": None}, "carry no class"),
    ],
)
def test_what_is_no_label_of_the_task(task, row, said):
    with pytest.raises(DataError, match=said) as raised:
        read(task, [row], ("a", "b"))
    assert "much" not in raised.value.told
    assert "q" not in raised.value.told.replace("required", "")


@pytest.fixture(scope="module")
def tokenizer():
    made = tiny_models.tokenizer()
    made.pad_token = made.eos_token
    return made


def test_the_first_token_of_a_word_has_its_tag(tokenizer):
    rows = [
        {"text": "unbelievable york", "label": "O B-X"},
        {"text": "a", "label": "O"},
    ]
    data = datasets.Dataset.from_list(rows)
    found = tags.tokenise(data, SETTINGS, ("O", "B-X"), tokenizer, "the test")
    for row, words in zip(found.rows, (["unbelievable", "york"], ["a"]), strict=True):
        lengths = [len(tokenizer.tokenize(word)) for word in words]
        starts = np.cumsum([0, *lengths[:-1]]).tolist()
        there = [i for i, tag in enumerate(row["labels"]) if tag != IGNORED]
        assert there == starts
    batch = found.batch([0, 1])
    assert found.weight(batch) == 3
    assert batch["labels"].shape == batch["input_ids"].shape


def test_a_decoder_learns_the_answer_and_its_end(tokenizer):
    rows = [{"text": "what is it", "answer": "a word"}, {"text": "so", "answer": None}]
    settings = DataSettings(text_columns="text", answer_column="answer", max_length=5)
    found = seq2seq.tokenise(datasets.Dataset.from_list(rows), settings, tokenizer)
    said = tokenizer("a word", add_special_tokens=False)["input_ids"][:4]
    assert found.rows[0]["labels"] == [*said, tokenizer.eos_token_id]
    assert found.rows[1]["labels"] == [tokenizer.eos_token_id]
    asked = seq2seq.prompts(rows, ("text",), settings, tokenizer)
    assert asked == [row["input_ids"] for row in found.rows]
    assert found.batch([0, 1])["labels"][1, 1:].eq(IGNORED).all()


@pytest.mark.parametrize("task", ["multi-label-classification", "regression"])
def test_rows_that_fill_up_a_joint_batch_add_nothing(tokenizer, task):
    value = "a" if task.startswith("multi") else 1.5
    data = datasets.Dataset.from_list([{"text": "so it is", "label": value}] * 3)
    made = text.tokenise(data, SETTINGS, ("a", "b"), tokenizer, task=task)
    whole, rows = joined([made.batch([0, 1]), made.batch([2])], made.blanks())
    logits = torch.randn(4, 2 if task.startswith("multi") else 1)
    terms, counted = losses.row_terms(task)(logits, whole["labels"])
    assert rows == 2
    assert not counted[3].any()
    assert not terms[3].any()
    assert counted[:3].all()


def test_scores_of_classes():
    scores = MultiLabelScores()
    right = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    # 0.1 is above a half, as a probability.
    scores.add(Output([[0.1, -0.1, -1.0], [2.0, -1.0, 3.0]]), torch.tensor(right))
    found = scores.result()
    assert found["accuracy"] == 0.5
    assert found["micro_f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["macro_f1"] == pytest.approx(1 / 3)


def test_scores_of_numbers():
    scores = NumberScores()
    scores.add(Output([[1.0], [4.0], [2.0]]), torch.tensor([10.0, 30.0, 40.0]))
    found = scores.result()
    assert found["loss"] == pytest.approx((81 + 676 + 1444) / 3)
    assert found["spearman"] == pytest.approx(0.5)
    constant = NumberScores()
    constant.add(Output([[1.0], [1.0]]), torch.tensor([1.0, 3.0]))
    assert constant.result() == {"loss": 2.0}


def test_scores_of_tags():
    names = ("O", "B-X", "I-X")
    scores = TagScores(names)
    # Two entities, of which one is found whole.
    right = torch.tensor([[1, 2, 0, 1, IGNORED]])
    logits = torch.nn.functional.one_hot(torch.tensor([1, 2, 0, 0, 1]), 3).float()
    scores.add(Output(logits[None].tolist()), right)
    found = scores.result()
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx(2 / 3)
    plain = TagScores(("NOUN", "VERB", "X"))
    plain.add(Output(logits[None].tolist()), right)
    assert "f1" not in plain.result()
