"""The learning rate of a round: a function of its number alone."""

import math

from ilora_app.settings import TrainingSettings


def rate_of(settings: TrainingSettings, server_round: int, num_rounds: int) -> float:
    """rate_t = rate (f + (1 - f) shape((t - 1) / T)).

    f is ``rate-floor``, shape(x) is 1, 1 - x, or (1 + cos(pi x)) / 2.

    Args:
        settings: rate, schedule and floor.
        server_round: t, from 1.
        num_rounds: T.

    """
    x = (server_round - 1) / max(num_rounds, 1)
    shape = {
        "constant": 1.0,
        "linear": 1 - x,
        "cosine": (1 + math.cos(math.pi * x)) / 2,
    }[settings.rate_schedule]
    floor = settings.rate_floor
    return settings.learning_rate * (floor + (1 - floor) * shape)
