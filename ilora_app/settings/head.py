"""Run-config keys of a classifier's head."""

from dataclasses import dataclass

from ilora_app.settings.options import above, at_least, number_or_auto, option

AUTO, TRAINED, RIDGE = "auto", "trained", "ridge"


@dataclass(frozen=True)
class HeadSettings:
    """The head of a classifier."""

    head: str = option(
        AUTO,
        "trained from its random start with the factors, or ridge: before round 1 its "
        "last layer is solved exactly by sums over the clients' frozen features, "
        "whatever the split. auto is ridge for a classifier with factors. Paper: "
        "trained.",
        choices=(AUTO, TRAINED, RIDGE),
    )
    head_rate: str = option(
        "auto",
        "Factor on the learning rate for the head; at 0 it is frozen, and neither sent "
        "again, averaged nor corrected. auto is 0 with a ridge head, else 1.",
        check=number_or_auto,
    )
    head_refit_every: int = option(
        4,
        "Solve a ridge head again on the model as it is, every so many rounds and at "
        "the end; 0 never does.",
        check=at_least(0),
    )
    head_ridge: float = option(
        0.001,
        "lambda of the ridge head, as a part of the mean squared length of a feature.",
        check=above(0),
    )

    @property
    def rate(self) -> float:
        """Factor on the learning rate for a head that the server does not freeze."""
        return 1.0 if self.head_rate == AUTO else float(self.head_rate)

    @property
    def is_frozen(self) -> bool:
        """Whether the server keeps the head as it is, once ``head`` is not ``auto``."""
        return self.rate == 0.0 or (self.head_rate == AUTO and self.head == RIDGE)
