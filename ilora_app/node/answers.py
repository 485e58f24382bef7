"""Answers of a node to a message, and of several nodes of one process at once.

What an exception says may quote a row, a class, a column or a folder, whichever library
raised it. So none of it is sent, but for the text that a ``MistakeError`` has for
others; this node's own log has all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from logging import ERROR
from pathlib import Path
from traceback import walk_tb
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from ilora_app import wire
from ilora_app.node import joint_round, persistence, record_part, secure_steps
from ilora_app.node.audit_log import AuditEntry
from ilora_app.node.local_round import LocalRound
from ilora_app.node.node import Node
from ilora_app.secure import SecureError
from ilora_app.settings.mistake import MistakeError

_PACKAGE = Path(__file__).parent.parent

Handler = Callable[[Message, Context], Message]

# Mistakes in what the node was given, as opposed to faults of the program.
MISTAKES = (MistakeError, SecureError, wire.WireError)


def answer_errors(handler: Handler) -> Handler:
    """Reply to whatever is raised, where Flower would send all that it says."""

    @wraps(handler)
    def answer(message: Message, context: Context) -> Message:
        entry = AuditEntry(message, context)
        try:
            found = handler(message, context)
        except Exception as error:
            found = _error(error, message)
        entry.close(found)
        return found

    return answer


def told(error: Exception) -> str:
    """Write an error to the log of this node; returns what the server is told."""
    if not isinstance(error, MISTAKES):
        log(ERROR, "%s, of which the server is not told", _place(error), exc_info=error)
        return f"{_place(error)}; its own log says more"
    whole = str(error)
    open_text = error.told if isinstance(error, MistakeError) else whole
    if open_text == whole:
        return whole
    log(ERROR, "%s", error)
    return f"{open_text or type(error).__name__}; its own log says more"


def _place(error: Exception) -> str:
    """Name the kind of an error, and the line of this package that it passed last."""
    files = [(Path(f.f_code.co_filename), n) for f, n in walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in files if file.is_relative_to(_PACKAGE)]
    where = "".join(f" in {f.relative_to(_PACKAGE)}:{n}" for f, n in own[-1:])
    return f"{type(error).__name__}{where}"


def _error(error: Exception, message: Message) -> Message:
    code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    return Message(Error(code=code, reason=told(error)), reply_to=message)


def train_together(pairs: Sequence[tuple[Message, Context]]) -> list[Message]:
    """Train nodes of one process for one round: those that are alike as one batch.

    Args:
        pairs: messages for TRAIN, in a fixed order, with the contexts of their nodes.

    Returns:
        The reply to each.

    """
    entries = [AuditEntry(message, context) for message, context in pairs]
    replies: dict[int, Message] = {}
    batches: list[list[tuple[int, LocalRound]]] = []
    for index, (message, context) in enumerate(pairs):
        try:
            local = begin(message, context)
        except Exception as error:
            replies[index] = _error(error, message)
            continue
        found = next((b for b in batches if joint_round.alike(b[0][1], local)), None)
        if found is None:
            batches.append([(index, local)])
        else:
            found.append((index, local))
    for batch in batches:
        try:
            trained = joint_round.train_all([local for _, local in batch])
            for (index, local), content in zip(batch, trained, strict=True):
                try:
                    replies[index] = reply(local, content, *pairs[index])
                except Exception as error:  # of one node, and no matter of the others
                    replies[index] = _error(error, pairs[index][0])
        except Exception as error:
            for index, _ in batch:
                replies.setdefault(index, _error(error, pairs[index][0]))
    for index, entry in enumerate(entries):
        entry.close(replies[index])
    return [replies[index] for index in range(len(pairs))]


def begin(message: Message, context: Context) -> LocalRound:
    """Read what a message for TRAIN asks of a node."""
    node = node_of(message, context)
    secure_steps.expected(node, message)
    persistence.restore(message, context)
    record_part.expected(node, message)
    local = LocalRound.begin(node, message, context.state)
    local = replace(local, record=record_part.charge(node, message, context))
    if wire.SECURE in message.content:
        secure_steps.enter(local, message, context)
    return local


def reply(
    local: LocalRound, content: RecordDict, message: Message, context: Context
) -> Message:
    """Keep what the node must not lose, and answer."""
    if wire.SECURE in message.content:
        content = secure_steps.training(local, content, message, context)
    keep = local.node.settings.keeping.keep_checkpoints + 1
    persistence.keep(message, context, keep)
    return Message(content, reply_to=message)


def node_of(message: Message, context: Context) -> Node:
    """Read what this node is, with the classes that the server sent."""
    facts: Any = message.content.config_records.get(wire.CONFIG, {})
    return Node.of(context, tuple(facts.get(wire.CLASSES, ())))
