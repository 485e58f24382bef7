"""Tokenised rows on disk are those of the tokenizer that asks for them."""

import pytest
from datasets import Dataset

from ilora_app.settings import DataSettings
from ilora_app.tasks import cache, causal_lm, text
from tests import tiny_models

ROWS = Dataset.from_list(
    [{"q": "please book a flight to new york", "a": "yes", "label": "x"}] * 3
)
ANSWERS = DataSettings(text_columns="q", answer_column="a", max_length=32)
CUT = DataSettings(text_columns="q", label_column="label", max_length=4)


def tokenizer(**changes):
    made = tiny_models.tokenizer()
    made.pad_token = made.eos_token
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"eos_token": "<s>"},
        {"truncation_side": "left"},
        {"model_input_names": ["input_ids"]},
    ],
)
def test_a_tokenizer_that_cuts_or_ends_otherwise_has_rows_of_its_own(
    tmp_path, monkeypatch, changes
):
    def rows(**changes) -> list:
        answers = causal_lm.tokenise(ROWS, ANSWERS, tokenizer(**changes)).rows
        return answers + text.tokenise(ROWS, CUT, ("x", "y"), tokenizer(**changes)).rows

    expected = [rows(), rows(**changes)]
    assert expected[0] != expected[1]
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    for _ in range(2):
        assert [rows(), rows(**changes)] == expected
    assert len(list((tmp_path / "cache").iterdir())) == 4
