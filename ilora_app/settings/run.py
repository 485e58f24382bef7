"""Run-config keys of the federation and its rounds."""

from dataclasses import dataclass

from ilora_app.settings import options
from ilora_app.settings.options import (
    above,
    at_least,
    option,
    part_of_one,
    part_or_none,
    place,
    seed_number,
    within,
)


@dataclass(frozen=True)
class RunSettings:
    """The federation and its rounds."""

    strategy: str = option(
        "ilora",
        "Method, server and client half together; package.module:Class for one that "
        "lies outside this package.",
    )
    num_server_rounds: int = option(
        8, "Rounds. Paper: 5, at scale 20.", check=at_least(1)
    )
    client_ranks: str = option(
        "2,4,8,16",
        "LoRA ranks, dealt out by partition id and repeated; a node's own "
        "--node-config lora-rank wins. Paper: 2,4,6.",
        check=options.ranks,
    )
    fraction_train: float = option(
        1.0, "Part of the nodes that train in a round.", check=part_of_one
    )
    fraction_evaluate: float = option(
        1.0,
        "Part of the nodes that evaluate on their held-out data after a round.",
        check=within(0, 1),
    )
    min_train_nodes: int = option(
        1, "Train on at least so many nodes.", check=at_least(1)
    )
    min_evaluate_nodes: int = option(
        1, "Evaluate on at least so many nodes.", check=at_least(0)
    )
    min_available_nodes: int = option(
        2,
        "Wait for so many nodes before round 1; with secure-aggregation for "
        "secure-min-nodes at least.",
        check=within(1, 1_000_000),
    )
    max_rank: int = option(
        256,
        "A node that offers a larger rank, and larger than any of client-ranks, trains "
        "at this one: what the server holds and sends grows with the largest.",
        check=at_least(1),
    )
    round_timeout: float = option(
        3600.0, "Seconds to wait for the replies of a round.", check=above(0)
    )
    max_wait_ratio: float = option(
        5.0,
        "A round waits for so many times as long as the slowest usable reply has taken "
        "so far, but a minute at least, and for a node that is asked for the first "
        "time all of round-timeout; with SuperNodes alone. 0: always round-timeout.",
        check=at_least(0),
    )
    strikes: int = option(
        3,
        "A node without a usable reply in so many rounds in a row, of those it was "
        "asked in, is asked no more, while min-available-nodes are left; 0: never.",
        check=at_least(0),
    )
    evaluate_every: int = option(
        1,
        "Evaluate on the test split and on the nodes every so many rounds, and at "
        "the end.",
        check=at_least(1),
    )
    patience: int = option(
        0,
        "End after so many evaluations (evaluate-every) without a better best-metric, "
        "such as held_out_accuracy, that of the clients' held-out data; 0 runs all "
        "rounds.",
        check=at_least(0),
    )
    target_accuracy: float = option(
        0.0,
        "End when the accuracy on the test split reaches this; 0 runs all rounds.",
        check=part_or_none,
    )
    evaluate_on: str = option(
        "auto",
        "Nodes evaluate a round's model in a message of its own (evaluate), or in the "
        "training message of the next round, which brings that model (train: one "
        "message a round, by the nodes that train; the last round has its own). What "
        "they find goes into the row of the round whose model it was. auto is train "
        "with SuperNodes, evaluate in simulation.",
        choices=("auto", "evaluate", "train"),
    )
    identity: str = option(
        "auto",
        "Who a node is, when it comes back: who its registered key says (key), or who "
        "it says it is (partition: it may take another's place). auto is key with "
        "SuperNodes, partition in simulation. Without node authentication keys are new "
        "at each start: partition lets such a node have its place again.",
        choices=("auto", "key", "partition"),
    )
    wire_dtype: str = option(
        "float32",
        "Type in which numbers travel in training messages and replies: bfloat16 is "
        "half the bytes, int8 with a scale for every direction a quarter. Numbers are "
        "rounded up or down by chance (seed), so that a mean is not drawn to one side; "
        "what rounding loses of an update comes with the node's next one. Messages for "
        "evaluation, sums for a solved head and what goes into the base stay float32.",
        choices=("float32", "bfloat16", "int8"),
    )
    rank_eval_every: int = option(
        0,
        "Also evaluate, every so many rounds, what a client of each rank holds; "
        "0 does it at the end only.",
        check=at_least(0),
    )
    seed: int = option(
        0, "Seeds the split, the sampling, the batches and the head.", check=seed_number
    )
    save_adapters: bool = option(
        True, "Write the adapters, or the whole model, into the run folder at the end."
    )
    output_dir: str = option(
        "",
        "Folder of the run; empty: <time>-<run id> under $ILORA_RUNS, else "
        "~/.ilora/runs.",
        check=place,
    )
