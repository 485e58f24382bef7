"""The best round of a run: which one it is, and its folder beside the last."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ilora_app.runs import store
from ilora_app.settings import options


def better(metric: str, value: float, than: float) -> bool:
    """Say whether a value beats another; equal ones do not."""
    return value < than if options.lower_is_better(metric) else value > than


def of_rounds(
    metric: str, row: Mapping[str, Any], best: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Describe a round if it is the best so far.

    Round 0 counts where its head was solved: it is the linear probe that training has
    to beat. Else it is an untrained model.

    Args:
        metric: column that decides.
        row: of the round.
        best: as returned before, or None.

    """
    value = row.get(metric)
    untrained = not row["round"] and not row.get("head_examples")
    if untrained or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return None
    if best and not better(metric, value, best["value"]):
        return None
    return {"round": row["round"], "metric": metric, "value": value}


def write(folder: Path, best: dict[str, Any], save: Callable[[Path], None]) -> None:
    """Write ``best/`` with its best.json, whole or not at all.

    Args:
        folder: of the best round; one of that name is replaced.
        best: from :func:`of_rounds`.
        save: writes the model into a folder.

    Raises:
        Exception: the place cannot be written, in the words of who writes there:
            OSError, SafetensorError, or that of the tokenizers.

    """
    with store.replacing(folder) as made:
        save(made)
        text = json.dumps(best, indent=1) + "\n"
        (made / "best.json").write_text(text, encoding="utf-8")
