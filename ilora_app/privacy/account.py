"""What training on a node's rows costs in epsilon: the account of one node.

A step draws each row by itself with probability q, clips the gradient of each to C and
adds noise of z C to their sum: a Gaussian mechanism over a Poisson sample. Data sets
are neighbours where one has a row more. Whatever others do is arbitrary: a step begins
from what it was sent. The account is of Renyi divergences, by dp-accounting.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache

_MOST, _LEAST, _CLOSE = 1e4, 1e-2, 1e-3


@dataclass(frozen=True)
class Steps:
    """Some steps of one kind.

    Attributes:
        multiplier: z.
        rate: q.
        count: how many.

    """

    multiplier: float
    rate: float
    count: int


@dataclass(frozen=True)
class Account:
    """All steps that have been taken on a node's rows in a run."""

    steps: tuple[Steps, ...] = ()

    @property
    def count(self) -> int:
        """Of all steps."""
        return sum(step.count for step in self.steps)

    def and_then(self, more: Steps) -> "Account":
        """The account behind some more steps."""
        if self.steps and replace(self.steps[-1], count=more.count) == more:
            whole = replace(more, count=self.steps[-1].count + more.count)
            return Account((*self.steps[:-1], whole))
        return Account((*self.steps, more))

    def epsilon(self, delta: float) -> float:
        """What they have cost at delta; 0 of none."""
        return epsilon_of(self.steps, delta)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a warning for every order that is left out: the others bound as well."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@lru_cache(maxsize=1024)
def epsilon_of(steps: Sequence[Steps], delta: float) -> float:
    """Epsilon of steps at delta."""
    if not any(step.count for step in steps):
        return 0.0
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    account = RdpAccountant()
    with _quiet():
        for step in steps:
            event = PoissonSampledDpEvent(step.rate, GaussianDpEvent(step.multiplier))
            account.compose(event, step.count)
        return float(account.get_epsilon(delta))


@lru_cache(maxsize=1024)
def noise_of(epsilon: float, delta: float, rate: float, count: int) -> float:
    """The least z with which so many steps cost no more than epsilon at delta.

    By halving the interval of its logarithm, to three digits, rounded up; infinite
    where 10,000 are not enough.
    """

    def within(z: float) -> bool:
        return epsilon_of((Steps(z, rate, count),), delta) <= epsilon

    if not within(_MOST):
        return math.inf
    low, high = math.log(_LEAST), math.log(_MOST)
    while high - low > _CLOSE:
        middle = (low + high) / 2
        low, high = (low, middle) if within(math.exp(middle)) else (middle, high)
    return math.exp(high)
