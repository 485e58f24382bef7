"""Run-config keys of what replies may be."""

from dataclasses import dataclass

from ilora_app.settings.options import at_least, option, within

COORDINATES = ("median", "trimmed-mean")
"""Rules that look at one number of a factor at a time."""

ROBUST = ("none", "clip", *COORDINATES, "krum", "geometric-median")


@dataclass(frozen=True)
class LimitSettings:
    """Limits on replies."""

    max_update_norm: float = option(
        0.0,
        "Leave out a reply whose update is larger: Frobenius norm of the change of the "
        "weights and the head together; 0 for no limit. Drift in metrics.csv shows "
        "what is usual.",
        check=at_least(0),
    )
    max_correction_norm: float = option(
        0.0,
        "Leave out a reply whose change of its control variate is larger: Frobenius "
        "norm of all of it, in units of the gradient; 0 for no limit.",
        check=at_least(0),
    )
    max_examples: int = option(
        0,
        "No client counts for more examples than so many, whatever it says; 0 for no "
        "limit.",
        check=at_least(0),
    )
    max_norm_ratio: float = option(
        3.0,
        "Take an update, or what comes beside it, that is more than so many times as "
        "large as the median of its round with the norm of this limit, and leave it "
        "out where it is a hundred times beyond; of three clients or more; 0 for no "
        "limit.",
        check=at_least(0),
    )
    robust: str = option(
        "none",
        "What is done against clients that stay within the limits and go the wrong "
        "way: `clip` shrinks every update to the median norm of the round, `krum` "
        "leaves out those far from most others, `geometric-median` weighs each by its "
        "distance from the middle, `median` and `trimmed-mean` look at every number of "
        "the factors and the head.",
        choices=ROBUST,
    )
    robust_fraction: float = option(
        0.25,
        "The part of a round's clients that may be hostile: `krum` leaves so many out, "
        "`trimmed-mean` so many at either end.",
        check=within(0, 0.5),
    )
    max_examples_ratio: float = option(
        10.0,
        "No client counts for more than so many times the median of all clients' "
        "examples; 0 for no limit.",
        check=at_least(0),
    )
    max_reply_megabytes: float = option(
        0.0,
        "Refuse a reply with more megabytes before it is put together in memory; 0: "
        "200, and four times what was sent.",
        check=at_least(0),
    )
    min_replies: int = option(
        1,
        "With fewer usable replies a round leaves the model as it was.",
        check=at_least(1),
    )
