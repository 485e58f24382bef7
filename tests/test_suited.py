"""Tokenizers that do not fit the model, told before anything starts."""

import json
from pathlib import Path

import pytest

from ilora_app.server import preflight
from ilora_app.settings import ModelSettings
from ilora_app.settings.parsing import ConfigError
from ilora_app.tasks import token_rows
from ilora_app.tasks.loading import load_backbone, load_pretrained
from ilora_app.tasks.models import ModelError
from tests import media, task_data, tiny_models
from tests.test_architectures import job

WORDS = tiny_models.WORDS


def change(model: Path, *without: str, **more: object) -> None:
    """Save the tokenizer of a model without some of its tokens, and with others."""
    made = tiny_models.tokenizer()
    made.add_tokens(more.pop("words", []))
    made.add_special_tokens(more)
    made.save_pretrained(model)
    file = model / "tokenizer_config.json"
    kept = json.loads(file.read_text())
    for name in without:
        kept.pop(name, None)
    file.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("more", "token"),
    [
        ({"words": ["oedema", "stent"]}, "'oedema', number 400"),
        ({"pad_token": "<pad>"}, "'<pad>', number 400"),
    ],
)
def test_a_tokenizer_with_more_entries_than_embeddings(tmp_path, more, token):
    config = job(tiny_models.make("bert", tmp_path), tmp_path)
    size = WORDS + len(more.get("words", ["<pad>"]))
    change(tmp_path / "model", **more)
    with pytest.raises(ConfigError) as told:
        preflight.prepare(config)
    (found,) = told.value.problems
    assert found.startswith(f"model = {config['model']!r}: the tokenizer beside it ")
    assert f"has {size} entries and the model {WORDS} embeddings" in found
    assert token in found
    assert f"resized to {size}" in found


def test_marks_that_no_text_has_are_no_tokens_of_it(tmp_path):
    tiny_models.make("gpt2", tmp_path)
    change(tmp_path / "model", additional_special_tokens=["<image>"])
    model = ModelSettings(model=str(tmp_path / "model"), task="causal-lm")
    assert len(load_pretrained(model, (), 0)[1]) == WORDS + 1
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text("{% for one in messages %}<image>{{ one }}{% endfor %}")
    with pytest.raises(ModelError, match="'<image>', number 400"):
        load_pretrained(model, (), 0)


def test_the_encoder_of_texts_of_clip(tmp_path):
    model = media.clip(tmp_path / "clip")
    load = ModelSettings(model=str(model), task="image-text-classification")
    made = load_pretrained(load, ("a", "b"), 0)[1]
    made.tokenizer.add_tokens(["oedema"])
    made.save_pretrained(model)
    with pytest.raises(ModelError, match="'oedema'"):
        load_pretrained(load, ("a", "b"), 0)


def test_a_tokenizer_that_cannot_fill_up_rows(tmp_path):
    config = job(tiny_models.make("bert", tmp_path), tmp_path)
    change(tmp_path / "model", "eos_token")
    with pytest.raises(ConfigError) as told:
        preflight.prepare(config)
    (found,) = told.value.problems
    assert "names neither a padding token nor an end-of-text token" in found
    assert "expected pad_token or eos_token" in found
    change(tmp_path / "model", "eos_token", pad_token="<s>")
    load_backbone(ModelSettings(model=config["model"]), ("a", "b"), 0)


@pytest.mark.parametrize("task", ["causal-lm", "plain", "seq2seq-lm"])
def test_what_is_written_wants_an_end(tmp_path, task):
    if task == "seq2seq-lm":
        config = task_data.job(task, tmp_path)
    else:
        config = job(tiny_models.make("gpt2", tmp_path), tmp_path)
    if task == "plain":
        config["answer-column"] = ""
    change(tmp_path / "model", "eos_token", pad_token="<s>")
    with pytest.raises(ConfigError) as told:
        preflight.prepare(config)
    assert "its tokenizer names no end-of-text token" in told.value.problems[0]
    assert token_rows.end(tiny_models.tokenizer()) == 2
