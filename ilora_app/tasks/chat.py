"""Conversations by a tokenizer's chat template: what the assistant says is learned.

A conversation is a list of messages, {"role": ..., "content": ...} or, in older sets,
{"from": "human" or "gpt", "value": ...}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ilora_app.tasks.metrics import IGNORED
from ilora_app.tasks.places import DataError

Row = dict[str, list[int]]
Message = dict[str, str]
_CALLS = ("tool_calls", "function_call")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


def messages(value: object, number: int) -> list[Message]:
    """Read the messages of a row up to the last one of the assistant.

    Raises:
        DataError: it holds something else, or the assistant says nothing, or a turn is
            more than text.

    """
    found: list[Message] = []
    for one in value if isinstance(value, Sequence) else ():
        if not isinstance(one, Mapping):
            break
        role = one.get("role") or one.get("from")
        found.append(
            {"role": _ROLES.get(str(role), str(role)), "content": _content(one, number)}
        )
    while found and found[-1]["role"] != "assistant":
        found.pop()
    if not found:
        whole = (
            f"row {number}: expected a list of messages with role and content, one of "
            "them at least by the role assistant"
        )
        raise DataError(whole, "expected messages with one of the assistant in each")
    return found


def _content(message: Mapping[str, Any], number: int) -> str:
    """Text of one turn; of several parts, one behind the other.

    Raises:
        DataError: it is more than text.

    """
    content = message.get("content", message.get("value"))
    calls = [key for key in _CALLS if message.get(key)]
    parts = content if isinstance(content, list) else [content or ""]
    texts = [_text(part) for part in parts]
    found = [text for text in texts if text is not None]
    if not calls and len(found) == len(texts):
        return "".join(found)
    what = calls[0] if calls else f"the content {content!r}"
    whole = (
        f"row {number}: a turn has {what}; expected text, or parts of the type text, "
        "as nothing else is learned"
    )
    raise DataError(whole, "expected messages of text alone in its data")


def _text(part: object) -> str | None:
    """Text of a part of a turn; None where it is of another type."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type") != "text":
        return None
    text = part.get("text")
    return text if isinstance(text, str) else None


def turns(chat: Sequence[Message], tokenizer: Any) -> list[tuple[str, bool]]:
    """Write a conversation as pieces of text, and which are the assistant's.

    A turn of the assistant is what the template adds behind the opening of it: with
    the mark that ends it, which has to be learned too.

    Raises:
        DataError: there is no template, it refuses the messages, or it does not write
            them one behind the other.

    """
    if tokenizer.chat_template is None:
        raise DataError.openly(
            "the tokenizer has no chat template, and messages need one; expected a "
            "model that was trained on conversations, or a prompt and an answer in "
            "columns of their own"
        )
    whole, pieces, done = _written(chat, tokenizer, False), [], 0
    for number, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        opened = _written(chat[:number], tokenizer, True)
        closed = _written(chat[: number + 1], tokenizer, False)
        if not (whole.startswith(opened) and whole.startswith(closed)):
            raise DataError.openly(
                "the chat template does not write messages one behind the other, so "
                "that what the assistant says is not told apart; expected one that "
                "does (chat_template of the tokenizer)"
            )
        pieces += [
            (whole[done : len(opened)], False),
            (whole[len(opened) : len(closed)], True),
        ]
        done = len(closed)
    return pieces


def encoded(values: Iterable[object], tokenizer: Any, length: int) -> list[Row]:
    """Tokenise conversations; too long ones lose their beginning.

    Raises:
        DataError: one is no conversation, or cannot be written.

    """
    rows = []
    for number, value in enumerate(values):
        ids: list[int] = []
        labels: list[int] = []
        for text, said in turns(messages(value, number), tokenizer):
            # The template writes the special tokens itself.
            tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            ids += tokens
            labels += tokens if said else [IGNORED] * len(tokens)
        rows.append({"input_ids": ids[-length:], "labels": labels[-length:]})
    return rows


def last_answer(value: object, number: int) -> str:
    """What the assistant says last."""
    return messages(value, number)[-1]["content"]


def _written(chat: Sequence[Message], tokenizer: Any, opening: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            list(chat), tokenize=False, add_generation_prompt=opening
        )
    except Exception as error:  # a template is a program, and raises what it likes
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        whole = f"the chat template refuses a conversation: {cause}"
        raise DataError(whole, "the chat template refuses a conversation") from error
    return text
