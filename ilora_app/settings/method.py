"""Run-config keys of aggregation and drift correction."""

from dataclasses import dataclass

from ilora_app.settings.options import above, at_least, option, part_of_one, within

DECOMPOSITIONS = ("qr", "pivoted-qr", "svd")
RESIDUALS = ("drop", "merge")
ESTIMATORS = ("local-mean", "full-pass")
NORMALISATIONS = ("all", "holders")
BASES = ("keep", "rotate")
SCOPES = ("all", "head", "factors")


@dataclass(frozen=True)
class MethodSettings:
    """Aggregation and drift correction."""

    decomposition: str = option(
        "qr",
        "How ilora cuts the concatenated product. Paper: qr.",
        choices=DECOMPOSITIONS,
    )
    residual: str = option(
        "drop",
        "What ilora does with what the cut drops: nothing, or merge it into the base "
        "of every client. Paper: drop.",
        choices=RESIDUALS,
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
