"""A node's part in a session of secure aggregation, between two messages.

It lies in ``context.state`` and on no disk: see ``persistence.SECRET``.
"""

import json
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from ilora_app import wire
from ilora_app.node.persistence import SECRET
from ilora_app.secure import Advert, Participant, Terms

_SESSION = "session"


def save(records: RecordDict, node: Participant) -> None:
    """Keep a node's part of the session of its purpose, in place of one before."""
    facts = {
        "terms": vars(node.terms),
        "node": node.node,
        "secrets": [secret.hex() for secret in node.secrets],
        "advert": node.advert.encoded().hex(),
        "adverts": [advert.encoded().hex() for advert in node.adverts],
        "held": {str(peer): text.hex() for peer, text in node.held.items()},
        "peers": {str(number): peers for number, peers in node.peers.items()},
        "asked": {str(number): text.hex() for number, text in node.asked.items()},
        "masked": node.masked,
        "left": {str(number): left for number, left in node.left.items()},
    }
    text = json.dumps(facts).encode()
    records[SECRET + node.terms.purpose] = ConfigRecord({_SESSION: text})


def load(records: RecordDict, purpose: str, server_round: int) -> Participant:
    """Take up a node's part again.

    Raises:
        WireError: it has none of this purpose and round.

    """
    name = SECRET + purpose
    kept: Any = records.config_records[name][_SESSION] if name in records else b"{}"
    facts = json.loads(kept)
    if not facts or facts["terms"]["round"] != server_round:
        raise wire.WireError(
            f"this node has no keys of round {server_round} for secure aggregation"
        )
    terms = Terms(**facts["terms"])

    def advert(text: str) -> Advert:
        return Advert.decoded(bytes.fromhex(text), terms.passes)

    return Participant(
        terms,
        facts["node"],
        [bytes.fromhex(secret) for secret in facts["secrets"]],
        advert(facts["advert"]),
        [advert(text) for text in facts["adverts"]],
        {int(peer): bytes.fromhex(text) for peer, text in facts["held"].items()},
        {int(number): peers for number, peers in facts["peers"].items()},
        {int(number): bytes.fromhex(text) for number, text in facts["asked"].items()},
        facts["masked"],
        {int(number): left for number, left in facts["left"].items()},
    )
