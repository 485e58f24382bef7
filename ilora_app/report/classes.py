"""What the model tells of each class of the server's test split."""

import json
from collections.abc import Sequence
from contextlib import suppress
from html import escape

from ilora_app.report import look, plots
from ilora_app.report.pieces import charts, folded, note
from ilora_app.report.reading import RunData
from ilora_app.runs import class_scores
from ilora_app.runs.class_scores import ByClass, ClassScore

_MOST = 15
_HEADS = ["class", "F1", "precision", "recall", "rows", "taken for it"]


def found_in(run: RunData, running: bool) -> tuple[ByClass | None, str]:
    """Scores by class, and of which round they are.

    While a run goes on they are those of its best round so far.
    """
    if not running and (found := class_scores.read(run.folder)):
        return found, "at the end"
    place = run.folder / "best"
    number = ""
    with suppress(OSError, ValueError, LookupError, TypeError):
        told = json.loads((place / "best.json").read_text(encoding="utf-8"))
        number = f" {int(told['round'])}"
    return class_scores.read(place), f"of the best round{number}"


def by_class(found: ByClass | None, when: str) -> str:
    """The classes told worst, what is taken for what, and all classes."""
    if found is None:
        return note("Scores by class were not recorded, or there are no classes.")
    worst = found.worst[:_MOST]
    wrong = [[true, told, str(n)] for true, told, n in found.confused[:_MOST]]
    tables = [_captioned(f"Lowest F1, {when}", _scores(worst))]
    heads = ["class", "taken for", "rows"]
    if wrong:
        title = f"Taken for another most often, {when}"
        table = look.table(heads, [("pairs", wrong)], left=heads[:2], kind="fits")
        tables.append(_captioned(title, table))
    else:
        tables.append(note("No row of the test split is taken for another class."))
    parts = [charts(plots.confusion(found), *tables)]
    if len(found.scores) > _MOST:
        every = _scores(found.scores)
        parts.append(folded(f"All {len(found.scores)} classes", every))
    parts.append(
        note(
            "Precision: part of the rows taken for the class that are of it. Recall: "
            "part of its rows that are found. F1: their harmonic mean; its mean over "
            "the classes is the macro F1. All of the server's own test split: nodes "
            "send no counts of classes. classes.csv and confusion.csv have all of it."
        )
    )
    return "".join(parts)


def _scores(scores: Sequence[ClassScore]) -> str:
    return look.table(_HEADS, [("classes", map(_row, scores))], kind="fits")


def _captioned(title: str, table: str) -> str:
    return f"<div><h3>{escape(title)}</h3>{table}</div>"


def _row(score: ClassScore) -> list[str]:
    values = (score.f1, score.precision, score.recall)
    shown = ["–" if value is None else f"{value:.3f}" for value in values]
    return [score.name, *shown, str(score.examples), str(score.predicted)]
