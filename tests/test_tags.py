"""Words that are apart already, and tokenizers that take a space for a part of one."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaTokenizerFast

from ilora_app.tasks.tags import first_tokens, split_words

WORDS = ["please", "book", "a", "flight"]


@pytest.fixture
def folder(tmp_path):
    """A tokenizer of bytes, as RoBERTa's and GPT-2's."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special)
    inner.train_from_iterator(["now please book a flight"] * 50, trainer)
    names = dict(zip(("bos", "pad", "eos", "unk", "mask"), special, strict=True))
    whole = {f"{name}_token": token for name, token in names.items()}
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **whole)
    made.save_pretrained(tmp_path / "any")
    state = made.backend_tokenizer
    RobertaTokenizerFast(tokenizer_object=state).save_pretrained(tmp_path / "roberta")
    return tmp_path / "roberta"


def test_words_are_read_as_they_are_from_what_is_exported(folder, tmp_path):
    """Learned with a space before each, as they stand in a text, and told so."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = split_words(tokenizer, [WORDS], 32)
    read = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert [token for token in read if token[0] != "<"] == [f"Ġ{w}" for w in WORDS]
    assert [word for _, word in first_tokens(encoded, 0)] == [0, 1, 2, 3]
    tokenizer.save_pretrained(tmp_path / "exported")
    again = AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert split_words(again, [WORDS], 32)["input_ids"] == encoded["input_ids"]
