"""Whether model, task and tokenizer suit one another, and what to do where not."""

from typing import Any

from torch import nn

from ilora_app.settings import ModelSettings
from ilora_app.settings.kinds import kind
from ilora_app.tasks.task import TASKS

_PLAIN = ("q_proj", "k_proj", "v_proj", "out_proj")


def problem(settings: ModelSettings, config: Any) -> str:
    """Say that a task has no model of this architecture; empty where it has.

    Args:
        settings: task, and name of the model.
        config: transformers' config of the model.

    """
    if _has(settings.task, config):
        return ""
    others = [task for task in TASKS if _has(task, config)]
    begin = (
        f"model = {settings.model!r}: it is a model of the kind {config.model_type}, "
        f"which {settings.task} has none of"
    )
    ways = []
    if others:
        ways.append(f"task = {' or '.join(map(repr, others))} with this one")
    if other := kind(settings.task).model:
        ways.append(f"another model, such as {other}")
    return f"{begin}; expected {', or '.join(ways)}" if ways else begin


def misread(settings: ModelSettings, model: Any, tokenizer: Any) -> str:
    """Say that a tokenizer cannot fill up rows, or gives tokens that a model lacks.

    Args:
        settings: name of the model.
        model: that reads the tokens.
        tokenizer: beside it.

    Returns:
        Empty where they fit each other.

    """
    begin = f"model = {settings.model!r}: the tokenizer beside it"
    if tokenizer.pad_token_id is None:
        return (
            f"{begin} names neither a padding token nor an end-of-text token, and rows "
            "are filled up with one of them; expected pad_token or eos_token in its "
            "tokenizer_config.json"
        )
    table = _embeddings(model)
    if not isinstance(table, nn.Embedding):
        return ""
    beyond = {
        number: token
        for token, number in tokenizer.get_vocab().items()
        if number >= table.num_embeddings and _is_given(tokenizer, token, number)
    }
    if not beyond:
        return ""
    first = min(beyond)
    return (
        f"{begin} has {len(tokenizer)} entries and the model {table.num_embeddings} "
        f"embeddings, so that it cannot read {beyond[first]!r}, number {first}; "
        "expected the tokenizer that the model was saved with, or a model whose "
        f"embeddings were resized to {max(beyond) + 1} (resize_token_embeddings)"
    )


def _embeddings(model: Any) -> Any:
    """What a model reads tokens with; None where it hashes them."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:
        of_clip = "clip.text_model.embeddings.token_embedding"
        return dict(model.named_modules()).get(of_clip)


def _is_given(tokenizer: Any, token: str, number: int) -> bool:
    """Whether a token may stand in a row.

    Some tokenizers have marks that only other models of their family read, such as
    those of images: no text has them.
    """
    special = tokenizer.added_tokens_decoder.get(number)
    if special is None or not special.special:
        return True
    added = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    written = number in added or token in str(tokenizer.chat_template or "")
    return written or number in tokenizer("a")["input_ids"]


def _has(task: str, config: Any) -> bool:
    auto = TASKS[task].auto_model
    known = getattr(auto, "_model_mapping", None)
    return type(config) in known if known is not None else _is_of(auto, config)


def _is_of(model: Any, config: Any) -> bool:
    return isinstance(config, model.config_class)
