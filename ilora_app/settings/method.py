"""Run-config keys of aggregation and drift correction."""

from dataclasses import dataclass

from ilora_app.settings.options import (
    above,
    at_least,
    below_one,
    option,
    part_of_one,
    within,
)

CONTROL_VARIATES, FEDPROX, FEDZMG = "control-variates", "fedprox", "fedzmg"
FEDADAMW, FEDLADA = "fedadamw", "fedlada"
FEDSMOO, FEDGLOMO = "fedsmoo", "fedglomo"
SECOND_MOMENTS = "second-moments"
CORRECTIONS = (
    CONTROL_VARIATES,
    FEDPROX,
    FEDADAMW,
    FEDLADA,
    FEDSMOO,
    FEDGLOMO,
    FEDZMG,
    SECOND_MOMENTS,
)
MOMENT_SYNCS = ("none", "block-means", "means", "ajive")
DECOMPOSITIONS = ("qr", "pivoted-qr", "svd")
RESIDUALS = ("drop", "merge", "send")
CUTS = ("update", "product")
UPDATE = "update"
INCREMENTS, PRODUCTS = "increments", "products"
AGGREGATES = (INCREMENTS, PRODUCTS)
ESTIMATORS = ("local-mean", "full-pass")
NORMALISATIONS = ("all", "holders")
BASES = ("keep", "rotate")
SCOPES = ("all", "head", "factors")
WEIGHTS = ("examples", "uniform")


def _rate(value: str) -> str | None:
    """Accept a number above 0, and ``auto``."""
    try:
        right = value == "auto" or 0 < float(value) < float("inf")
    except ValueError:
        right = False
    return None if right else "a number above 0, such as 1.5, or auto"


@dataclass(frozen=True)
class MethodSettings:
    """Aggregation and drift correction."""

    cut: str = option(
        "update",
        "What ilora cuts to the ranks: the update that was learned, or the product, in "
        "which the qr start is contained. Paper: product.",
        choices=CUTS,
    )
    aggregate: str = option(
        "auto",
        "What ilora and flexlora sum: what clients hold (products), or what they have "
        "changed (increments), so that what a client cannot hold is not forgotten; "
        "auto is increments under ilora with cut update. Papers: products.",
        choices=("auto", *AGGREGATES),
    )
    server_rate: str = option(
        "1",
        "eta of the server's step along the mean change: a number, or auto for "
        "FedExP's; under ilora and flexlora of increments.",
        check=_rate,
    )
    server_momentum: float = option(
        0.0,
        "beta: part of the server's step before that is taken again; under ilora and "
        "flexlora of increments.",
        check=below_one,
    )
    decomposition: str = option(
        "svd",
        "How ilora cuts the concatenated product. Paper: qr.",
        choices=DECOMPOSITIONS,
    )
    residual: str = option(
        "auto",
        "What ilora does with what a cut leaves out: drop it; merge it into every "
        "client's base for good; or send it, so that a client's base holds what its "
        "rank cannot train (with increments of the update); auto is send where that "
        "is possible. Paper: drop.",
        choices=("auto", *RESIDUALS),
    )
    residual_energy: float = option(
        1.0,
        "Part of the squared norm of a round's increment that residual merge keeps.",
        check=part_of_one,
    )
    drift_correction: str = option(
        "auto",
        "Correction of client drift; auto is control-variates under ilora, unless its "
        "head is frozen, second-moments under fedgalore, else none. ILoRA's paper: "
        "control-variates.",
        choices=("auto", "none", *CORRECTIONS),
    )
    proximal_mu: float = option(
        0.01,
        "mu: weight of fedprox's (mu / 2) ||theta - theta_received||^2.",
        check=at_least(0),
    )
    fedadamw_gamma: float = option(
        0.5,
        "gamma: weight of the federation's direction in fedadamw's step.",
        check=at_least(0),
    )
    fedlada_alpha: float = option(
        0.1,
        "alpha: weight of the local step in fedlada's; the federation's direction has "
        "the rest. Its paper: 0.1.",
        check=within(0, 1),
    )
    moment_sync: str = option(
        "auto",
        "How fedadamw, fedlada and second-moments share Adam's second moments: one "
        "mean a tensor, the mean of every entry, what the clients' have in common by "
        "AJIVE, or not; auto is ajive under fedgalore, means under fedlada and "
        "second-moments where factors keep their basis, else block-means.",
        choices=("auto", *MOMENT_SYNCS),
    )
    fedsmoo_rho: float = option(
        0.1,
        "rho: length of fedsmoo's perturbation. Its paper: 0.1.",
        check=at_least(0),
    )
    fedsmoo_lambda: float = option(
        0.1,
        "lambda: weight of fedsmoo's dynamic regulariser; 0 has none. Its paper: 0.1.",
        check=at_least(0),
    )
    fedglomo_beta: float = option(
        0.5,
        "beta: part of the clients' mean in fedglomo's global momentum; 1 takes the "
        "mean itself.",
        check=part_of_one,
    )
    control_estimator: str = option(
        "local-mean",
        "c_k: mean of the raw local gradients, or one full pass over the local data "
        "at the received model. Paper: full-pass.",
        choices=ESTIMATORS,
    )
    control_weights: str = option(
        "examples",
        "Weights of the clients' c_k in c: their examples, as their factors are "
        "weighted, or uniform. Paper: uniform.",
        choices=WEIGHTS,
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
    galore_refresh_every: int = option(
        1,
        "Rounds after which fedgalore takes its projectors anew from the gradients; 0 "
        "keeps the random ones of round 1.",
        check=at_least(0),
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
