"""Run-config keys of what is kept for later: checkpoints, the best round, reports."""

from dataclasses import dataclass

from ilora_app.settings.options import (
    at_least,
    host,
    names,
    option,
    place,
    quality,
    within,
)

TRACKERS = ("tensorboard", "wandb", "mlflow")


def _trackers(value: str) -> str | None:
    """Accept names of trackers with commas between them, and none."""
    if set(names(value)) <= set(TRACKERS):
        return None
    return f"names out of {', '.join(TRACKERS)}, with commas between them"


@dataclass(frozen=True)
class KeepingSettings:
    """Checkpoints, the best round, report and trackers."""

    resume: str = option(
        "",
        "Go on with an earlier run after its last finished round: latest, or its run "
        "folder; empty starts anew. Latest is the run in output-dir, or of those under "
        "$ILORA_RUNS, else ~/.ilora/runs, the newest of the same configuration.",
        check=place,
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
        "loss, client_accuracy_worst, held_out_accuracy, accuracy_r4, ...; of a "
        "regression, which has none, accuracy is loss.",
        check=quality,
    )
    report: bool = option(
        True,
        "End with report.html in the run folder: plots and tables of the run, as ilora "
        "report writes it.",
    )
    log_events: bool = option(
        False,
        "Also write the events of the run into its log, a line of JSON each, as ilora "
        "run has it, which follows a run of another machine by them.",
    )
    metrics_port: int = option(
        0,
        "Serve counts of the run for Prometheus under http://<metrics-host>:<port>"
        "/metrics while it goes on, from the machine of the ServerApp; 0: no. A port "
        "that is taken is a warning, and the run goes on without.",
        check=within(0, 65535),
    )
    metrics_host: str = option(
        "127.0.0.1",
        "Address that metrics-port is opened on: this machine alone can reach it; "
        "0.0.0.0 lets others in, and nothing asks them who they are.",
        check=host,
    )
    track: str = option(
        "",
        "Also write the rounds for tensorboard, wandb, mlflow (names with commas "
        "between them), into the run folder; each is a package to "
        "install: pip install tensorboard.",
        check=_trackers,
    )
