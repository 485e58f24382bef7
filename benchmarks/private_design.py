"""What the comparison under differential privacy runs, and why so.

The tasks are language models (stories260k, 64 wide, five layers), which have no head:
its noise would be the same for all rows, and a head alone is what a linear probe under
noise would be. Both leave much to learn (benchmarks.headroom).

Unit client: 200 clients of 23 to 25 examples each, a fifth of them held out, ranks 2
and 4, all asked in each of T = 4 rounds of two steps of 4, delta 0.001. z is 5.8, 3.2,
1.8 and 1.0 at epsilon 1, 2, 4 and 8, the same for all rows. It grows as sqrt(T), and
the noise of all rounds together as z sqrt(T), which is T, as what clipped changes add
up to: more rounds cost time and buy nothing. What differs is which numbers the noise of
standard deviation z C / 200 is added to, per adapted layer of d_out x d_in with r = 4:

    ilora        D E and Q^T D (I - E E^T), E and Q being bases of the rows of A and the
                 columns of B that all trained from: r (d_out + d_in - r) numbers, as
                 many as a matrix of rank r has; of the product itself, so that C bounds
                 the product, and no noise is multiplied.
    ilora-qr     Y, the first r columns of the product, and Q^T D behind them, Q being
                 the basis of Y: as many numbers.
    flexlora     the dense product: d_out d_in numbers, of which the best approximation
                 of rank r is taken.
    fedit        B and A: r (d_out + d_in) numbers; C bounds the factors' change, and
                 the product gets B N_A + N_B A + N_B N_A.
    ffa-lora     B alone: r d_out numbers, A being random and frozen; the product gets
                 N_B A.
    fedavg-full  every weight of the model, without adapters: what LoRA is to beat.

C is of another unit in each row, so that it is chosen for each with the rate: by the
loss on the clients' held-out data, seed 0, epsilon 4, going on in each of the two as
long as the best is at the end of those tried; without privacy the rate alone. That
choice is not in epsilon. Clients train with SGD: AdamW's steps are of one length in all
numbers, also in those that a client's few examples say nothing of.

Unit record: 8 clients of some 600 rows, 4 rounds of 5 steps, in each of which a row is
drawn with probability 0.03; delta is 0.0005. Noise is on the gradients of whatever
trains: of B and A of ilora and fedit, of B of ffa-lora. Rate and clip are chosen on a
tenth of the training split, as nodes measure nothing then.
"""

from dataclasses import dataclass

from benchmarks import laboratory
from benchmarks.laboratory import Config

TASKS = ("e2e", "dolly")
LEVELS = ("1", "2", "4", "8", "none")
LADDER = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
CHOSEN_AT = "4"
SEEDS = 5
COMMON: Config = {
    **laboratory.COMMON,
    "client-ranks": "2,4",
    "drift-correction": "none",
    "partitioner": "iid",
    "partition-by": None,
    "optimizer": "sgd",
    "num-server-rounds": 4,
    "evaluate-every": 4,
    "test-examples": 1000,
}
GRADIENTS: dict[str, Config] = {  # what a node puts noise on is what it trains
    "ilora": {"strategy": "ilora"},
    "fedit": {"strategy": "fedit"},
    "ffa-lora": {"strategy": "ffa-lora"},
}
SUMS: dict[str, Config] = {
    "ilora": {"strategy": "ilora", "decomposition": "svd"},
    "ilora-qr": {"strategy": "ilora", "decomposition": "qr"},
    "flexlora": {"strategy": "flexlora"},
    "fedit": {"strategy": "fedit"},
    "ffa-lora": {"strategy": "ffa-lora"},
    "fedavg-full": {"strategy": "fedavg-full"},
}


@dataclass(frozen=True)
class Unit:
    """What is hidden, of how many clients.

    Attributes:
        dp: setting.
        rows: that are compared.
        clients: how many.
        delta: of the account.
        rates, clips: that are tried first.
        common: settings.
        chosen_on: settings of runs that choose rate and clip; their seed is -1.
        file: of the results.

    """

    dp: str
    rows: dict[str, Config]
    clients: int
    delta: float
    rates: tuple[float, ...]
    clips: tuple[float, ...]
    common: Config
    chosen_on: Config
    file: str


CLIENT = Unit(
    "client",
    SUMS,
    200,
    1e-3,
    (0.1,),
    (0.1, 0.3, 1.0),
    {
        **COMMON,
        "holdout-fraction": 0.2,
        "local-steps": 2,
        "batch-size": 4,
        "clients-per-batch": 10,  # more are slower: out of a processor's cache
    },
    {},
    "private.jsonl",
)
RECORD = Unit(
    "record",
    GRADIENTS,
    laboratory.CLIENTS,
    5e-4,
    (0.1,),
    (0.1, 0.3, 1.0),
    {**COMMON, "holdout-fraction": 0.0, "local-steps": 5, "batch-size": 16},
    {"train-split": "train[:90%]", "test-split": "train[90%:]"},
    "record.jsonl",
)
UNITS = {unit.dp: unit for unit in (CLIENT, RECORD)}


def beside(value: float) -> tuple[float, ...]:
    """The values of the ladder next to one of it."""
    place = LADDER.index(value)
    return LADDER[max(place - 1, 0) : place] + LADDER[place + 1 : place + 2]
