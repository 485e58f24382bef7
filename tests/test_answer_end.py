"""An instruction model's answer ends where its turn does, whatever its configs name."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ilora_app.export.facts import Facts
from ilora_app.tasks.generation import answers, stop_tokens
from tests.finished import ilora, objects

SIZE, USER, ASSISTANT, ASKED = 60, 3, 4, 5
TEMPLATE = """{% for turn in messages %}<|{{ turn.role }}|> {{ turn.content }} <|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> tuple[Path, list[int], int]:
    """A model that ends its turn with a token that neither of its configs names."""
    folder = tmp_path_factory.mktemp("chat")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = 1
    # Its prompt ends a turn, by the token that is to be chosen: whichever comes late.
    for end in range(10, SIZE):
        written = [USER, ASKED, end, ASSISTANT]
        for _ in range(12):
            with torch.inference_mode():
                written.append(
                    int(model(torch.tensor([written])).logits[0, -1].argmax())
                )
        said = written[4:]
        if 1 not in said and 3 <= (said.index(end) if end in said else 0) <= 9:
            break
    else:
        pytest.fail("no token of this model comes late")
    words = {f"w{i}": i for i in range(SIZE)}
    special = {"<s>": 0, "</s>": 1, "<|user|>": USER, "<|assistant|>": ASSISTANT}
    special["<|end|>"] = end
    taken = set(special.values())
    words = {word: i for word, i in words.items() if i not in taken} | special
    plain = Tokenizer(models.WordLevel(words))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="</s>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"],
        chat_template=TEMPLATE,
    )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Facts(
        task="causal-lm", base="chat", merged=True, labels=(), columns="text",
        prompt_template="", max_length=32, image_size=0, dtype="float32", seed=0,
    ).write(folder)  # fmt: skip
    return folder, said, end


def completion(folder: Path) -> str:
    words = ["predict", folder, f"w{ASKED}", "--max-new-tokens", 12, "--json"]
    (found,) = objects(ilora(*words))
    return str(found["completion"])


def test_it_ends_with_the_turn(chat):
    folder, said, end = chat
    answer = said[: said.index(end)]
    assert completion(folder) == " ".join(f"w{token}" for token in answer)


def test_without_the_template_s_token_it_would_run_on(chat, tmp_path):
    folder, said, end = chat
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    asked = "{% if turn.role == 'user' %} <|end|>{% endif %}"
    bare = TEMPLATE.replace(" <|end|>", asked)
    (tmp_path / "chat_template.jinja").write_text(bare)
    found = completion(tmp_path)
    assert len(found.split()) > said.index(end)
    config = tmp_path / "generation_config.json"
    named = json.loads(config.read_text()) | {"eos_token_id": [1, end]}
    config.write_text(json.dumps(named))
    assert len(completion(tmp_path).split()) < len(found.split())


def test_what_ends_an_answer(chat):
    folder, _, end = chat
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    assert stop_tokens(tokenizer, model) == sorted({1, end})
    model.generation_config.eos_token_id = [1, 7]
    model.config.eos_token_id = None
    assert stop_tokens(tokenizer, model) == sorted({1, 7, end})
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    assert stop_tokens(tokenizer, model) == [1, 7]
    tokenizer.chat_template = None
    assert stop_tokens(tokenizer, model) == [1, 7]


def test_what_comes_behind_the_end_is_cut(chat):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(chat[0])
    rows = [[8, 9, 7, 8], [7, 8], [8, 9]]
    assert answers(tokenizer, rows, [7]) == ["w8 w9", "", "w8 w9"]
    assert answers(tokenizer, rows, []) == ["w8 w9 w7 w8", "w7 w8", "w8 w9"]
