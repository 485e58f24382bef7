"""Run-config keys of the model, the data, and local training."""

from dataclasses import dataclass

from ilora_app import options
from ilora_app.lora.initialisation import GAINS
from ilora_app.options import above, at_least, below_one, not_empty, option


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
