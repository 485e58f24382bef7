"""A node's own account of what it was sent and what it answered, as hashes.

``audit.jsonl`` lies beside the node's state of the run (``node.persistence``), one line
for each message that trains, evaluates, or takes a step of secure aggregation:

    {"time": ..., "node": 12, "kind": "train", "received": SHA-256, "sent": SHA-256}

The server has the same hashes in events.jsonl; ``ilora runs payloads`` compares them. A
node that keeps no state of a run has no such file.
"""

import json
import time
from logging import WARNING

from flwr.app import Context, Message, MessageType
from flwr.supercore import log

from ilora_app import wire
from ilora_app.node import persistence
from ilora_app.runs.places import AUDIT
from ilora_app.runs.writing import Journal
from ilora_app.settings.mistake import MistakeError

_WHO = MessageType.QUERY
"""The question who a node is; it comes before there is a run to speak of."""


class AuditEntry:
    """One line: made before a message is read, closed with its answer.

    Args:
        message: as it came.
        context: of this node.

    """

    def __init__(self, message: Message, context: Context) -> None:
        self._context, self._kind = context, message.metadata.message_type
        self._received = "" if self._kind == _WHO else wire.digest(message.content)

    def close(self, reply: Message) -> None:
        """Write it; an answer that is an error has no hash."""
        key = persistence.run_key(self._context) if self._received else ""
        if not key:
            return
        sent = wire.digest(reply.content) if reply.has_content() else None
        line = {
            "time": round(time.time(), 3),
            # As the server has it, whose JSON has ids as text.
            "node": str(self._context.node_id),
            "kind": self._kind,
            "received": self._received,
            "sent": sent,
        }
        try:
            place = persistence.place_of(self._context, key)
            persistence.make(place)
            Journal(place / AUDIT).append(json.dumps(line))
        except (OSError, MistakeError, wire.WireError) as error:
            log(WARNING, "the node's audit log lacks a line: %s", error)
