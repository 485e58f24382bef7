"""Run-config keys of what the server may see of a node."""

from dataclasses import dataclass

from ilora_app.settings.options import above, at_least, open_part, option, part_or_none

DP = ("none", "client", "record")


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
        "No sum over fewer nodes is opened, so that so many are waited for and drawn; "
        "a node's own --node-config wins where it is larger. Of a round's nodes more "
        "than two thirds must stay to its end in any case.",
        check=at_least(3),
    )
    dp: str = option(
        "none",
        "client: models are differentially private to a node with all its data, by "
        "clipped changes and noise from the server. record: to a single row, by "
        "clipped gradients and noise on its node. See privacy.md.",
        choices=DP,
    )
    dp_clip: float = option(
        1.0,
        "C: the most that a node changes in a round, as a norm: of the products and "
        "the head, or of the factors where those are averaged. record: the longest "
        "gradient of a row.",
        check=above(0),
    )
    dp_clip_quantile: float = option(
        0.0,
        "dp = client: C begins at dp-clip and follows this quantile of the norms, told "
        "with noise that is accounted for; 0: it stays.",
        check=part_or_none,
    )
    dp_target_epsilon: float = option(
        0.0,
        "Epsilon of the whole run: the noise follows from it, and no round is run "
        "beyond it. 0: dp-noise-multiplier is given instead.",
        check=at_least(0),
    )
    dp_delta: float = option(
        1e-5,
        "The chance that epsilon does not speak of; below one over the nodes, or over "
        "the rows of a node.",
        check=open_part,
    )
    dp_noise_multiplier: float = option(
        0.0,
        "z: noise in units of what one node can change; 0: as dp-target-epsilon asks.",
        check=at_least(0),
    )
