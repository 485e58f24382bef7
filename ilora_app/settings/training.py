"""Run-config keys of local training."""

from dataclasses import dataclass

from ilora_app.settings.options import above, at_least, below_one, option, part_or_none


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
    rate_schedule: str = option(
        "constant",
        "Learning rate over the rounds: falls to rate-floor of it by the last one.",
        choices=("constant", "linear", "cosine"),
    )
    rate_floor: float = option(
        0.0,
        "Part of the learning rate that a schedule falls to.",
        check=part_or_none,
    )
    clip_grad_norm: float = option(
        0.0,
        "Largest norm of a client's gradient, before any correction; 0 clips nothing.",
        check=at_least(0),
    )
    logit_adjustment: float = option(
        0.0,
        "tau: clients train on logits + tau log of their own class shares, so that "
        "they need not learn these; 0 is off.",
        check=at_least(0),
    )
    weight_decay: float = option(0.0, "Weight decay. Paper: 0.", check=at_least(0))
    momentum: float = option(0.9, "Momentum, read by sgd. Paper: 0.9.", check=below_one)
    batch_size: int = option(16, "Examples a local step. Paper: 64.", check=at_least(1))
    local_steps: int = option(
        10,
        "Local steps a round; 0 trains local-epochs epochs. Paper: 0.",
        check=at_least(0),
    )
    local_epochs: int = option(
        1, "Local epochs a round where local-steps is 0. Paper: 1.", check=at_least(1)
    )
    gradient_accumulation: int = option(
        1,
        "Parts in which a local step computes its batch: less memory, the same "
        "gradient.",
        check=at_least(1),
    )
    eval_batch_size: int = option(
        64, "Examples a batch in evaluation.", check=at_least(1)
    )
    clients_per_batch: int = option(
        1,
        "Clients of one process that train as one batch, where one process has many "
        "(ilora compare --engine local): faster, the same numbers but for dropout, "
        "which they draw together. Refused for models of which a layer sees something "
        "else than the rows of a batch (DeBERTa, Longformer).",
        check=at_least(1),
    )
    threads_per_client: int = option(
        1,
        "Torch threads of a client; 0 leaves it to torch. Results are bit-identical "
        "only at one number of threads.",
        check=at_least(0),
    )
