"""Local training that ends at a deadline, with the layers that are finished by then."""

import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from random import Random

from torch import Tensor, nn

from ilora_app.settings.deadline import finished_at

SPREAD = 0.1
"""Standard deviation of the logarithm of a simulated step's time."""


class OutOfTimeError(Exception):
    """Raised inside a backward pass."""


class Deadline(ABC):
    """Runs the steps of a round until time is up, and counts them by layer.

    Args:
        seconds: T, from now on.
        layers: layer -> its parameters, in the order of the model.

    Attributes:
        steps: how many steps each layer has taken.

    """

    def __init__(
        self, seconds: float, layers: Mapping[str, Sequence[nn.Parameter]]
    ) -> None:
        self.seconds, self.layers = seconds, layers
        self.steps = dict.fromkeys(layers, 0)
        self._times: list[float] = []  # seconds an example, of whole steps
        self._tried = 0

    @property
    @abstractmethod
    def elapsed(self) -> float:
        """Seconds since the start, at most T where the deadline was met."""

    @abstractmethod
    def _attempt(
        self, backward: Callable[[], Tensor], examples: int
    ) -> tuple[Tensor | None, set[str]]:
        """Run a step's passes; its loss, or None, and the layers that are finished."""

    def run(
        self, backward: Callable[[], Tensor], examples: int
    ) -> tuple[Tensor | None, bool]:
        """Run the passes of one step, unless time is up.

        Parameters of layers that are not finished are left without a gradient.

        Args:
            backward: runs them, and returns the loss.
            examples: of the step.

        Returns:
            The loss, None where it is not known, and whether any layer may step.

        """
        if self.elapsed >= self.seconds:
            return None, False
        self._tried = examples
        loss, finished = self._attempt(backward, examples)
        for layer, parameters in self.layers.items():
            if layer in finished:
                self.steps[layer] += 1
            else:
                for parameter in parameters:
                    parameter.grad = None
        return loss, bool(finished)

    def speed(self) -> tuple[float, float]:
        """Seconds an example, and its standard deviation, of the whole steps.

        Without one, what it takes at least; 0 where no step was begun.
        """
        if not self._times:
            return (self.elapsed / self._tried if self._tried else 0.0), 0.0
        return statistics.fmean(self._times), statistics.pstdev(self._times)

    def close(self) -> None:  # noqa: B027  most hold on to nothing
        """Let go of the parameters."""


class TimedDeadline(Deadline):
    """By the clock of this machine."""

    def __init__(
        self, seconds: float, layers: Mapping[str, Sequence[nn.Parameter]]
    ) -> None:
        super().__init__(seconds, layers)
        self._start = time.perf_counter()
        self._missing: dict[str, int] = {}
        for parameters in layers.values():
            for parameter in parameters:
                parameter.requires_grad_()
        self._handles = [
            parameter.register_post_accumulate_grad_hook(self._noting(layer))  # type: ignore[no-untyped-call]
            for layer, parameters in layers.items()
            for parameter in parameters
        ]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()

    def _noting(self, layer: str) -> Callable[[Tensor], None]:
        def note(_: Tensor) -> None:
            if self.elapsed > self.seconds:
                raise OutOfTimeError
            self._missing[layer] -= 1

        return note

    def _attempt(
        self, backward: Callable[[], Tensor], examples: int
    ) -> tuple[Tensor | None, set[str]]:
        self._missing = {layer: len(held) for layer, held in self.layers.items()}
        begun = self.elapsed
        try:
            loss = backward()
        except OutOfTimeError:
            return None, {layer for layer, n in self._missing.items() if n == 0}
        self._times.append((self.elapsed - begun) / examples)
        return loss, set(self.layers)


class SimulatedDeadline(Deadline):
    """By a speed that is given, with a spread that a seed draws.

    Args:
        seconds: T.
        layers: layer -> its parameters, in the order of the model.
        speed: seconds an example.
        seed: of the spread.

    """

    def __init__(
        self,
        seconds: float,
        layers: Mapping[str, Sequence[nn.Parameter]],
        speed: float,
        seed: int,
    ) -> None:
        super().__init__(seconds, layers)
        self._speed, self._draw, self._now = speed, Random(seed), 0.0

    @property
    def elapsed(self) -> float:
        """Seconds that the steps so far would have taken."""
        return min(self._now, self.seconds)

    def _attempt(
        self, backward: Callable[[], Tensor], examples: int
    ) -> tuple[Tensor | None, set[str]]:
        loss = backward()
        # The mean of exp(normal(-s^2 / 2, s)) is 1.
        drawn = math.exp(self._draw.gauss(-(SPREAD**2) / 2, SPREAD))
        took = self._speed * examples * drawn
        ends = dict(zip(self.layers, finished_at(len(self.layers)), strict=True))
        finished = {n for n, f in ends.items() if self._now + f * took <= self.seconds}
        if len(finished) == len(ends):
            self._times.append(took / examples)
        self._now += took
        return loss, finished
