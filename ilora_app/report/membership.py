"""The result of a membership test in the folder of a run: read, checked, and shown."""

import json
import math
from pathlib import Path
from typing import Any

from ilora_app.report import look
from ilora_app.report.pieces import note
from ilora_app.runs.places import MEMBERSHIP, from_home

Result = dict[str, Any]
_COUNTS, _PARTS = ("members", "non_members", "round"), ("auc", "tpr", "fpr")
_KINDS = ("members", "non-members")
_MOST_POINTS = 100_000


def tested(folder: Path) -> Result | None:
    """Read it; None where there is none, or where it is not what ``ilora audit`` wrote.

    Args:
        folder: of the run.

    """
    try:
        found = json.loads((folder / MEMBERSHIP).read_text(encoding="utf-8"))
        right = (
            all(type(found[key]) is int for key in _COUNTS)
            and all(_part(found[key]) for key in _PARTS)
            and all(len(found[f"{key}_interval"]) == 2 for key in ("auc", "tpr"))
            and all(map(_part, found["auc_interval"] + found["tpr_interval"]))
            and len(found["roc"]["fpr"]) == len(found["roc"]["tpr"]) <= _MOST_POINTS
            and all(map(_part, found["roc"]["fpr"] + found["roc"]["tpr"]))
            and isinstance(found["model"], str)
            and all(isinstance(name, str) for name in found["data"])
            and len(found["data"]) == 2
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if right else None


def _part(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1


def interval(test: Result, name: str) -> str:
    """Write a value with its interval."""
    low, high = test[f"{name}_interval"]
    return f"{test[name]:.3f} [{low:.3f}, {high:.3f}]"


def shown(test: Result | None) -> str:
    """Make what a page says of it."""
    if test is None:
        return look.prose(
            "Nobody has tested whether the model tells what it was trained on: "
            "`ilora audit RUN` does."
        )
    rows = [
        ["AUC (0.5 is guessing)", interval(test, "auc")],
        [f"true positives at {test['fpr']:.0%} false positives", interval(test, "tpr")],
        *(
            [kind, f"{test[key]}: {from_home(name)}"]
            for kind, key, name in zip(_KINDS, _COUNTS, test["data"], strict=False)
        ),
        ["model", f"{test['model']}, of round {test['round']}"],
    ]
    table = look.table(["loss-threshold attack", "value"], [("test", rows)], ["value"])
    said = (
        "An attack that calls a row a member where the model's loss on it is low (Yeom "
        "et al. 2018); in brackets a 95 % interval. It is the simplest one: where it "
        "fails, a better one may not."
    )
    return f"{table}<figure>{roc(test)}</figure>{note(said)}"


def roc(test: Result) -> str:
    """Draw the ROC curve for a page."""
    # Pages without a test need no library for plots.
    from ilora_app.report.drawing import drawing

    with drawing("Membership test", "membership") as made:
        _curve(made.axes, test)
    return made.svg


def draw(test: Result, file: Path) -> None:
    """Draw the ROC curve into a file of its own: png, svg or pdf by its name.

    Raises:
        OSError: it cannot be written.

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"Membership test, AUC {interval(test, 'auc')}", fontsize=10)
    _curve(axes, test, "black")
    file.unlink(missing_ok=True)  # and not written through a link
    figure.savefig(file, dpi=150)


def _curve(axes: Any, test: Result, ink: str = "") -> None:
    """Both axes are logarithmic, as low rates of errors are what counts."""
    from ilora_app.report.drawing import COLOURS, INK

    least = 1 / (2 * max(test["members"], test["non_members"]))
    curve = test["roc"]
    points = [
        (max(x, least), max(y, least))
        for x, y in zip(curve["fpr"], curve["tpr"], strict=True)
    ]
    axes.plot([least, 1], [least, 1], "--", color=ink or INK, linewidth=0.8)
    axes.step(*zip(*points, strict=True), where="post", color=COLOURS[0])
    for scale, limit in (
        (axes.set_xscale, axes.set_xlim),
        (axes.set_yscale, axes.set_ylim),
    ):
        scale("log")
        limit(least, 1)
    axes.set_xlabel("non-members called members")
    axes.set_ylabel("members found")
