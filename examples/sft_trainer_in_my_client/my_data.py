"""Conversations and model of this project; put your own here."""

import json
from functools import cache

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ilora_app.settings import ModelSettings
from ilora_app.tasks import modules
from ilora_app.tasks.backbone import Backbone
from ilora_app.tasks.loading import load_backbone
from ilora_app.tasks.sources import PACKAGED

RANKS = (2, 4, 8)
CHATS = [
    [
        {"role": "user", "content": row["text"]},
        {"role": "assistant", "content": f"this is about {row['domain']}"},
    ]
    for row in map(
        json.loads, (PACKAGED / "clinc150" / "train.jsonl").read_text().splitlines()
    )
]
# What stands between "generation" and "endgeneration" is learned.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}[assistant] "
    "{% generation %}{{ m.content }} </s>{% endgeneration %}"
    "{% else %}[user] {{ m.content }} {% endif %}{% endfor %}"
)


def my_rows(partition: int, partitions: int) -> list[dict]:
    """Conversations of one node."""
    return [{"messages": chat} for chat in CHATS[partition::partitions]]


def my_model(name: str) -> Backbone:
    """Load the model with its LoRA layers, the same on the server and every node."""
    if name == "tiny":
        return tiny_model()
    return load_backbone(ModelSettings(model=name, task="causal-lm"), (), seed=0)


@cache
def tiny_model() -> Backbone:
    """Make an untrained Llama of two layers, and a tokenizer of whole words."""
    words = {word for chat in CHATS for m in chat for word in m["content"].split()}
    marks = ["<unk>", "<pad>", "</s>", "[user]", "[assistant]"]
    ids = {word: number for number, word in enumerate([*marks, *sorted(words)])}
    found = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=found,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        chat_template=TEMPLATE,
    )
    config = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        initializer_range=0.1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    settings = ModelSettings(model="tiny", task="causal-lm")
    return Backbone(model, tokenizer, modules.resolved(settings, model, False))
