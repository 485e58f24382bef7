r"""What rounds of a run cost in epsilon, and the noise that a budget asks for.

Each round releases one Gaussian mechanism of noise multiplier z: its noise has a
standard deviation of z times the most that one node can change. T rounds compose;
the account is Flower's, of Renyi divergences (Mironov, 2017) by dp-accounting. Two
federations are neighbours where one node has learned something in one and nothing in
the other; how many are asked is public, and no sampling is counted on to hide them.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ilora_app.settings import Settings

_MOST, _LEAST = 1e4, 1e-2
_CLOSE = 1e-4


@dataclass(frozen=True)
class Budget:
    """Of a run.

    Attributes:
        delta: the part of chance that epsilon does not speak of.
        epsilon: not to be exceeded; 0: no limit.
        multiplier: z.

    """

    delta: float
    epsilon: float
    multiplier: float

    @classmethod
    def of(cls, settings: Settings) -> "Budget":
        """Take z as given, or the least one with which all rounds fit."""
        chosen, rounds = settings.privacy, settings.run.num_server_rounds
        target, delta = chosen.dp_target_epsilon, chosen.dp_delta
        given = chosen.dp_noise_multiplier
        found = given or noise_for(target, delta, rounds)
        return cls(delta, target, found)

    def spent(self, rounds: int) -> float:
        """Epsilon of so many rounds; 0 of none."""
        return spent(self.multiplier, self.delta, rounds)

    def lasts(self, rounds: int) -> bool:
        """Whether so many rounds are within it."""
        return not self.epsilon or self.spent(rounds) <= self.epsilon * (1 + 1e-9)


def spent(multiplier: float, delta: float, rounds: int) -> float:
    """Epsilon of T rounds with noise multiplier z at delta."""
    if not rounds:
        return 0.0
    from flwr.serverapp import GaussianPrivacyEvent

    account = _account(delta)
    account.compose(GaussianPrivacyEvent(multiplier, 1, 1), rounds)
    return float(account.get_epsilon(delta))


def no_noise(settings: Settings) -> str:
    """Say that no noise keeps a run within its budget, where that is so."""
    chosen, rounds = settings.privacy, settings.run.num_server_rounds
    target = chosen.dp_target_epsilon
    if not target or spent(_MOST, chosen.dp_delta, rounds) <= target:
        return ""
    return (
        f"dp-target-epsilon = {target:g}: expected more, or fewer rounds: no noise "
        f"keeps {rounds} within it"
    )


@lru_cache(maxsize=128)
def noise_for(epsilon: float, delta: float, rounds: int) -> float:
    """The least z whose T rounds cost no more than epsilon at delta.

    By halving the interval of its logarithm, to four digits, rounded up.

    It is 10,000 at most, which ``no_noise`` refuses to go beyond.
    """
    low, high = math.log(_LEAST), math.log(_MOST)
    while high - low > _CLOSE:
        middle = (low + high) / 2
        within = spent(math.exp(middle), delta, rounds) <= epsilon
        low, high = (low, middle) if within else (middle, high)
    return math.exp(high)


def _account(delta: float) -> Any:
    from flwr.serverapp import (
        NeighboringRelation,
        PrivacyConfig,
        RdpAccountant,
        SamplingMethod,
    )

    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    config = PrivacyConfig(delta, 1, relation, SamplingMethod.NO_AMPLIFICATION)
    return RdpAccountant(config)
