"""Every run-config key: its type, default, range and help, as frozen dataclasses.

The key of a field is its name with dashes: ``init_gain`` is ``init-gain``.
"""

from dataclasses import dataclass

from ilora_app import options
from ilora_app.lora.control import BASES, ESTIMATORS, NORMALISATIONS, SCOPES
from ilora_app.lora.decomposition import METHODS
from ilora_app.lora.initialisation import GAINS
from ilora_app.options import (
    above,
    at_least,
    below_one,
    not_empty,
    option,
    parse_ranks,
    part_of_one,
    within,
)


@dataclass(frozen=True)
class RunSettings:
    """The federation and its rounds."""

    strategy: str = option("ilora", "Method, server and client half together.")
    num_server_rounds: int = option(
        10, "Rounds. Paper: 5, at scale 20.", check=at_least(1)
    )
    client_ranks: str = option(
        "2,4,8,16",
        "LoRA ranks, dealt out by partition id and repeated; a node's own "
        "--node-config lora-rank wins. Paper: 2,4,6.",
        check=options.ranks,
    )
    fraction_train: float = option(
        1.0, "Part of the nodes that train in a round.", check=within(0, 1)
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
        2, "Wait for so many nodes before round 1.", check=at_least(1)
    )
    round_timeout: float = option(
        3600.0, "Seconds to wait for the replies of a round.", check=above(0)
    )
    evaluate_every: int = option(
        1,
        "Evaluate on the test split and on the nodes every so many rounds, and at "
        "the end.",
        check=at_least(1),
    )
    rank_eval_every: int = option(
        0,
        "Also evaluate, every so many rounds, what a client of each rank holds; "
        "0 does it at the end only.",
        check=at_least(0),
    )
    seed: int = option(
        0, "Seeds the split, the sampling, the batches and the head.", check=at_least(0)
    )
    save_adapters: bool = option(
        True, "Write the adapters, or the whole model, into the run folder at the end."
    )
    output_dir: str = option(
        "", "Folder of the run; empty: ~/.ilora/runs/<time>-<run id>."
    )


@dataclass(frozen=True)
class ModelSettings:
    """The frozen model and what is trained on it."""

    model: str = option(
        "sentence-transformers/all-MiniLM-L6-v2",
        "Local folder, installed model package, hub cache or hub id, in that order.",
        check=not_empty,
    )
    target_modules: str = option(
        "query,value",
        "Layers that get factors, by the end of their names. Paper: query,value.",
        check=not_empty,
    )
    modules_to_save: str = option(
        "classifier,pooler",
        "Modules trained and sent whole beside the factors: the head. "
        "Paper: classifier.",
    )
    lora_scaling: float = option(
        2.0,
        "s in W x + s B A x, one constant for all ranks (PEFT's lora_alpha = s r). "
        "Paper: lora_alpha 16 at every rank.",
        check=above(0),
    )
    lora_dropout: float = option(0.0, "Dropout before A. Paper: 0.1.", check=below_one)
    initialisation: str = option(
        "auto",
        "Factors at the start: qr orthonormal directions of W0 (ilora, fedit) or "
        "standard (A random, B zero); auto is qr under ilora, standard elsewhere. "
        "Paper: qr.",
        choices=("auto", "qr", "standard"),
    )
    init_gain: str = option(
        "paper",
        "Gain of the qr start: paper is g = 1, scaled makes the initial product small.",
        choices=GAINS,
    )


@dataclass(frozen=True)
class DataSettings:
    """The data set, its split over the clients, and its text."""

    dataset: str = option(
        "clinc150",
        "Packaged set (clinc150), local folder, or hub id.",
        check=not_empty,
    )
    text_columns: str = option(
        "text", "Column with the text, or two of them for pairs.", check=options.columns
    )
    label_column: str = option("domain", "Column with the class.", check=not_empty)
    train_split: str = option("train", "Split dealt out to clients.", check=not_empty)
    test_split: str = option(
        "test", "Split on which the server evaluates.", check=not_empty
    )
    test_examples: int = option(
        0,
        "Evaluate on so many examples of the test split, drawn by the seed; 0: on all.",
        check=at_least(0),
    )
    dirichlet_alpha: float = option(
        0.3,
        "Label skew between clients: Dirichlet concentration, small is skewed. "
        "Paper: 0.3 vision, 0.5 and 0.6 language, 0.1 at scale.",
        check=above(0),
    )
    min_partition_size: int = option(
        10,
        "Draw the split again until every client has so many examples.",
        check=at_least(0),
    )
    holdout_fraction: float = option(
        0.1, "Part of a client's data kept for its own evaluation.", check=below_one
    )
    max_length: int = option(
        64, "Tokens after which a text is cut. Paper: 64.", check=at_least(2)
    )


@dataclass(frozen=True)
class TrainingSettings:
    """Local training on a client."""

    optimizer: str = option(
        "adamw",
        "Optimizer of the clients. Paper: adamw, and sgd for vision.",
        choices=("adamw", "sgd"),
    )
    learning_rate: float = option(
        3e-3, "Learning rate. Paper: 1e-4 (adamw), 0.01 (sgd).", check=above(0)
    )
    weight_decay: float = option(0.0, "Weight decay. Paper: 0.", check=at_least(0))
    momentum: float = option(0.9, "Momentum, read by sgd. Paper: 0.9.", check=below_one)
    batch_size: int = option(16, "Examples a local step. Paper: 64.", check=at_least(1))
    local_steps: int = option(
        15,
        "Local steps a round; 0 trains local-epochs epochs. Paper: 0.",
        check=at_least(0),
    )
    local_epochs: int = option(
        1, "Local epochs a round where local-steps is 0. Paper: 1.", check=at_least(1)
    )
    eval_batch_size: int = option(
        64, "Examples a batch in evaluation.", check=at_least(1)
    )
    threads_per_client: int = option(
        1,
        "Torch threads of a client; 0 leaves it to torch. Results are bit-identical "
        "only at one number of threads.",
        check=at_least(0),
    )


@dataclass(frozen=True)
class MethodSettings:
    """Aggregation and drift correction."""

    decomposition: str = option(
        "qr",
        "How ilora cuts the concatenated product. Paper: qr.",
        choices=METHODS,
    )
    residual: str = option(
        "drop",
        "What ilora does with what the cut drops: nothing, or merge it into the base "
        "of every client. Paper: drop.",
        choices=("drop", "merge"),
    )
    residual_energy: float = option(
        1.0,
        "Part of the squared norm of a round's increment that residual merge keeps.",
        check=part_of_one,
    )
    drift_correction: str = option(
        "auto",
        "Correction of client drift; auto is control-variates under ilora, else none. "
        "Paper: control-variates.",
        choices=("auto", "control-variates", "none"),
    )
    control_estimator: str = option(
        "local-mean",
        "c_k: mean of the raw local gradients, or one full pass over the local data "
        "at the received model. Paper: full-pass.",
        choices=ESTIMATORS,
    )
    control_normalisation: str = option(
        "holders",
        "Divide an index of c by all members, or by those whose rank reaches it. "
        "Paper: all.",
        choices=NORMALISATIONS,
    )
    control_basis: str = option(
        "keep",
        "After aggregation, keep control variates as numbers or rotate them into the "
        "new basis. Paper: keep.",
        choices=BASES,
    )
    control_scope: str = option(
        "all",
        "What is corrected. Paper: all.",
        choices=SCOPES,
    )
    lora_fair_lambda: float = option(
        0.01, "lambda of lora-fair's correction of B. Its paper: 0.01.", check=above(0)
    )
    hetlora_gamma: float = option(
        0.99,
        "hetlora prunes a rank r to floor(gamma r). Its paper: 0.99.",
        check=within(0, 1),
    )
    hetlora_lambda: float = option(
        0.001,
        "Weight of hetlora's penalty on the directions that pruning would drop.",
        check=at_least(0),
    )


@dataclass(frozen=True)
class Settings:
    """The whole run config, by group."""

    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    method: MethodSettings = MethodSettings()

    @property
    def ranks(self) -> tuple[int, ...]:
        """``client-ranks`` as numbers."""
        return parse_ranks(self.run.client_ranks)
