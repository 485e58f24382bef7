"""What the comparison under differential privacy runs, and why so.

Unit client: 200 clients of 22 or 25 examples each, ranks 2, 4, 8 and 16, all asked in
each of eight rounds, delta 0.001, heads trained (a solved one is refused: its sums are
in no account). z is 8.2, 4.5, 2.6 and 1.5 at epsilon 1, 2, 4 and 8, the same for all
rows: what differs is which numbers the noise of standard deviation z C / 200 is added
to, per adapted layer of d x d with r = 16:

    ilora      (Y, R), orthonormal E and Q: r (2 d - r) numbers, as many as a matrix of
               rank r has; of the product itself, so that C bounds the product, and no
               noise is multiplied.
    fedit      B and A: 2 r d numbers; C bounds the factors' change, and the product
               gets B N_A + N_B A + N_B N_A.
    ffa-lora   B alone: r d numbers, A being random and frozen; the product gets N_B A.

The tasks have next to no head, whose noise would be the same for all: two classes
(768 numbers; ILoRA's four layers have 48,128), and a language model, which has none.
C is of another unit in each row, so that it is chosen for each with the rate: by
accuracy on the clients' held-out data, seed 0, epsilon 4, going on while the best is
at the end of those tried; without privacy the rate alone. That choice is not in
epsilon. Clients train with SGD: AdamW's steps are of one length in all numbers, also
in those that a client's few examples say nothing of (a head alone on frozen features,
clinc150, epsilon 8: 0.62 with SGD, the best of 9; 0.17 with AdamW, of 6).
Dense updates (d d numbers) are no row: fedavg-full aggregates no sum that is clipped
and noised here.

Unit record: 8 clients of 560 to 625 rows, 8 rounds of 20 steps, in each of which a row
is drawn with probability 0.1; delta is 0.0005, and z 1.5 or so at epsilon 4. Noise is
on the gradients of whatever trains: of B and A of ilora and fedit, of B of ffa-lora,
and of the head. Rate and clip are chosen on a tenth of the training split, as nodes
measure nothing then.
"""

from dataclasses import dataclass

from benchmarks import laboratory
from benchmarks.laboratory import Config

TASKS = ("qnli", "e2e")
LEVELS = ("1", "2", "4", "8", "none")
LADDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
CHOSEN_AT = "4"
SEEDS = 5
COMMON: Config = {
    **laboratory.COMMON,
    "head": "trained",
    "drift-correction": "none",
    "partitioner": "iid",
    "optimizer": "sgd",
    "num-server-rounds": 8,
    "evaluate-every": 8,
}
ROWS: dict[str, Config] = {
    "ilora": {"strategy": "ilora", "decomposition": "qr"},
    "fedit": {"strategy": "fedit"},
    "ffa-lora": {"strategy": "ffa-lora"},
}


@dataclass(frozen=True)
class Unit:
    """What is hidden, of how many clients.

    Attributes:
        dp: setting.
        clients: how many.
        delta: of the account.
        rates, clips: that are tried first.
        common: settings.
        chosen_on: settings of runs that choose rate and clip; their seed is -1.
        file: of the results.

    """

    dp: str
    clients: int
    delta: float
    rates: tuple[float, ...]
    clips: tuple[float, ...]
    common: Config
    chosen_on: Config
    file: str


CLIENT = Unit(
    "client",
    200,
    1e-3,
    (0.1, 0.3, 1.0),
    (0.3, 1.0, 3.0),
    {
        **COMMON,
        "holdout-fraction": 0.2,
        "local-steps": 4,
        "batch-size": 16,
        "clients-per-batch": 50,
    },
    {},
    "private.jsonl",
)
RECORD = Unit(
    "record",
    laboratory.CLIENTS,
    5e-4,
    (0.3, 1.0, 3.0),
    (0.1, 0.3, 1.0),
    {**COMMON, "holdout-fraction": 0.0, "local-steps": 20, "batch-size": 64},
    {"train-split": "train[:90%]", "test-split": "train[90%:]"},
    "record.jsonl",
)
UNITS = {unit.dp: unit for unit in (CLIENT, RECORD)}


def beside(value: float) -> tuple[float, ...]:
    """The values of the ladder next to one of it."""
    place = LADDER.index(value)
    return LADDER[max(place - 1, 0) : place] + LADDER[place + 1 : place + 2]
