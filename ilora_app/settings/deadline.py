"""Run-config keys of rounds that end at a deadline."""

from dataclasses import dataclass

from ilora_app.settings.options import at_least, option

FORWARD = 1 / 3
"""Part of a step's time that its forward pass takes [choice]; the rest is backward."""
HEAD = "head"
"""The layer that stands for the head, behind all others."""


def finished_at(layers: int) -> list[float]:
    """When each layer is finished, as a part of a step, in the order of the model.

    1/3 + 2/3 (L - i) / L for layer i = 0..L-1: backpropagation finishes the last first.
    """
    return [FORWARD + (1 - FORWARD) * (layers - i) / layers for i in range(layers)]


def parse_speeds(text: str) -> tuple[float, ...]:
    """Read seconds an example, separated by commas.

    Raises:
        ValueError: a part is no number above 0.

    """
    found = tuple(float(part) for part in text.split(",")) if text.strip() else ()
    if not all(0 < value < float("inf") for value in found):
        raise ValueError(text)
    return found


def _speeds(text: str) -> str | None:
    """Accept numbers above 0, and nothing at all."""
    try:
        parse_speeds(text)
    except ValueError:
        return "numbers above 0, such as 0.01,0.02,0.08"
    return None


@dataclass(frozen=True)
class DeadlineSettings:
    """Deadlines of local training (ADEL-FL, arXiv 2505.23973)."""

    round_deadline: float = option(
        0.0,
        "Seconds of local training after which a node returns what it has, down to the "
        "layers that the last backward pass has finished; 0: all are waited for.",
        check=at_least(0),
    )
    time_budget: float = option(
        0.0,
        "Seconds of local training of all rounds together, from which the deadline of "
        "each is chosen, in the place of round-deadline; 0: none.",
        check=at_least(0),
    )
    simulated_speeds: str = option(
        "",
        "Seconds an example on the nodes of a simulation, dealt in turn, in the place "
        "of the clock: the same numbers on every machine; empty: the clock.",
        check=_speeds,
    )

    @property
    def on(self) -> bool:
        """Whether rounds have deadlines."""
        return bool(self.round_deadline or self.time_budget)
