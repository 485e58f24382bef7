"""Answers that a model writes, against what plain transformers writes one by one."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ilora_app.lora.factors import AdapterState
from ilora_app.settings import ModelSettings
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.causal_lm import LanguageExamples
from ilora_app.tasks.generation import exact_match, final_number
from ilora_app.tasks.loading import load_backbone

MOST = 5
LENGTHS = (2, 9, 4, 4, 7, 3, 12, 5, 2, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose words are numbers, so that all it writes can be read as one."""
    made = tmp_path_factory.mktemp("numbers")
    words = ["<s>", "</s>", *(str(number) for number in range(10, 90))]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", model_max_length=64
    ).save_pretrained(made)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        bos_token_id=0, eos_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone:
    settings = ModelSettings(task="causal-lm", model=str(folder))
    made = load_backbone(settings, (), 0)
    start = made.directions(2)
    # W0 - s O + s B A with O = B A: the model as it was, with its adapters in place.
    made.install(AdapterState(start, made.initial_head()), dict(start.items()))
    return made


@pytest.fixture(scope="module")
def examples(folder: Path, backbone: Backbone) -> LanguageExamples:
    """Prompts of unequal length with the answers that the untouched model gives."""
    draw = torch.Generator().manual_seed(4)
    prompts = [torch.randint(2, 82, (n,), generator=draw).tolist() for n in LENGTHS]
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    answers = []
    for prompt in prompts:
        tokens = list(prompt)
        for _ in range(MOST):
            with torch.no_grad():
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == model.config.eos_token_id:
                break
        written = backbone.processor.decode(
            tokens[len(prompt) :], skip_special_tokens=True
        )
        answers.append(f"that is {written}")
    rows = [{"input_ids": prompt, "labels": prompt} for prompt in prompts]
    return LanguageExamples(rows, prompts, answers, backbone.processor)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batches_write_what_each_prompt_alone_gets(backbone, examples, batch_size):
    numbers = {final_number(answer) for answer in examples.answers}
    assert None not in numbers
    assert len(numbers) > 3
    assert exact_match(backbone, examples, MOST, batch_size) == 1.0


def test_wrong_and_missing_answers_count_as_wrong(backbone, examples):
    answers = list(examples.answers)
    answers[0], answers[3], answers[6] = answers[0] + " or 7", "none", ""
    changed = LanguageExamples(
        examples.rows, examples.prompts, answers, examples.tokenizer
    )
    assert exact_match(backbone, changed, MOST, 4) == pytest.approx(0.7)


def test_fewer_tokens_end_in_another_number(backbone, examples):
    assert exact_match(backbone, examples, 1, 4) < 1.0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 + 4 = 7\n#### 7", 7.0),
        ("It costs $1,234.50.", 1234.5),
        ("minus -2 it is", -2.0),
        ("none at all", None),
    ],
)
def test_the_final_number_of_an_answer(text, number):
    assert final_number(text) == number
