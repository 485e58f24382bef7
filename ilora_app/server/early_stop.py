"""Why a run ends before its last round."""

from typing import Any

from ilora_app.runs import best
from ilora_app.settings import Settings


def reason(settings: Settings, rows: list[dict[str, Any]]) -> str:
    """Say why no further round is run, or nothing.

    From the rows alone, so that a resumed run stops where the whole one does.

    Args:
        settings: ``patience``, ``target-accuracy`` and ``best-metric``.
        rows: of the rounds so far.

    """
    run, metric = settings.run, settings.keeping.best_metric
    accuracy: Any = rows[-1].get("accuracy")
    asked = run.target_accuracy and rows[-1]["round"] and accuracy is not None
    if asked and accuracy >= run.target_accuracy:
        return f"accuracy {accuracy:.4f} reaches the target of {run.target_accuracy:g}"
    if not run.patience:
        return ""
    found: dict[str, Any] | None = None
    since = 0  # rounds that are not evaluated say nothing
    for row in rows:
        better = best.of_rounds(metric, row, found)
        since = 0 if better else since + bool(found and row.get(metric) is not None)
        found = better or found
    if since < run.patience:
        return ""
    return f"{since} evaluations without a better {metric}"
