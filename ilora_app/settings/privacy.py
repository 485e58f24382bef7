"""Run-config keys of what the server may see of a node."""

from dataclasses import dataclass

from ilora_app.settings.options import at_least, option


@dataclass(frozen=True)
class PrivacySettings:
    """What the server sees of a node."""

    secure_aggregation: bool = option(
        False,
        "Nodes mask what they send, so that the server learns sums over the nodes of "
        "a round and nothing of one of them: see privacy.md.",
    )
    secure_min_nodes: int = option(
        3,
        "No sum over fewer nodes is opened; a node's own --node-config wins where it "
        "is larger. Of a round's nodes more than two thirds must stay to its end in "
        "any case.",
        check=at_least(3),
    )
