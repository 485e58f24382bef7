"""Settings that a task has no use for."""

from ilora_app.settings import Settings
from ilora_app.settings.kinds import kind


def task_problems(settings: Settings) -> dict[str, str]:
    """Every setting that makes no sense for the task, by key."""
    task, found = settings.model.task, {}
    if kind(task).has_accuracy:
        return {}
    best, target = settings.keeping.best_metric, settings.run.target_accuracy
    if "accuracy" in best and best != "accuracy":  # that one is the default: loss here
        found["best-metric"] = (
            f"best-metric = {best!r}: expected loss, spearman or client_loss_mean, as "
            f"{task} has no accuracy"
        )
    if target:
        found["target-accuracy"] = (
            f"target-accuracy = {target:g}: is not used, as {task} has no accuracy"
        )
    if settings.privacy.secure_aggregation:
        found["secure-aggregation"] = (
            "secure-aggregation = true: expected false, as what masked nodes measure "
            f"is summed as accuracies, and {task} has none"
        )
    return found
