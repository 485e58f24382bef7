"""Run-config keys of what is kept for later, and of what replies may be."""

from dataclasses import dataclass

from ilora_app.settings.options import at_least, names, option, quality

TRACKERS = ("tensorboard", "wandb", "mlflow")


def _trackers(value: str) -> str | None:
    """Accept names of trackers with commas between them, and none."""
    if set(names(value)) <= set(TRACKERS):
        return None
    return f"names out of {', '.join(TRACKERS)}, with commas between them"


@dataclass(frozen=True)
class KeepingSettings:
    """Checkpoints, and the best round."""

    resume: str = option(
        "",
        "Go on with an earlier run after its last finished round: latest, or its run "
        "folder; empty starts anew. Latest is the run in output-dir, or of those under "
        "$ILORA_RUNS, else ~/.ilora/runs, the newest of the same configuration.",
    )
    keep_checkpoints: int = option(
        2,
        "So many checkpoints of the newest rounds stay in the run folder, and nodes "
        "keep their own state of these rounds; 0 writes none.",
        check=at_least(0),
    )
    best_metric: str = option(
        "accuracy",
        "Column of metrics.csv by which the best round is kept in best/: accuracy, "
        "loss, client_accuracy_worst, held_out_accuracy, accuracy_r4, ...",
        check=quality,
    )
    report: bool = option(
        True,
        "End with report.html in the run folder: plots and tables of the run, as ilora "
        "report writes it.",
    )
    track: str = option(
        "",
        "Also write the rounds for tensorboard, wandb, mlflow (names with commas "
        "between them), into the run folder; each is an extra to install: "
        'pip install "ilora[tensorboard]".',
        check=_trackers,
    )


@dataclass(frozen=True)
class LimitSettings:
    """Limits on replies."""

    max_update_norm: float = option(
        0.0,
        "Leave out a reply whose update is larger: Frobenius norm of the change of the "
        "weights and the head together; 0 for no limit. Drift in metrics.csv shows "
        "what is usual.",
        check=at_least(0),
    )
    max_correction_norm: float = option(
        0.0,
        "Leave out a reply whose change of its control variate is larger: Frobenius "
        "norm of all of it, in units of the gradient; 0 for no limit.",
        check=at_least(0),
    )
    max_examples: int = option(
        0,
        "No client counts for more examples than so many, whatever it says; 0 for no "
        "limit.",
        check=at_least(0),
    )
    min_replies: int = option(
        1,
        "With fewer usable replies a round leaves the model as it was.",
        check=at_least(1),
    )
