"""What a model tells of each class of the server's test split, as two files of a run.

classes.csv has a line for each class, confusion.csv one for each pair of classes that
occurs: with a thousand classes that is as many lines as test rows at most.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ilora_app.runs.reading import number

CLASSES, CONFUSION = "classes.csv", "confusion.csv"
_NUMBERS = ("precision", "recall", "f1")
_COUNTS = ("examples", "predicted")
_FEW = 5


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; None where nothing was to be told or was told.

    Attributes:
        name: of the class.
        precision: TP / (TP + FP).
        recall: TP / (TP + FN).
        f1: 2 TP / (2 TP + FP + FN).
        examples: rows of it, TP + FN.
        predicted: rows that were taken for it, TP + FP.

    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    examples: int
    predicted: int


@dataclass(frozen=True)
class ByClass:
    """Scores by class, and what was taken for what.

    Attributes:
        scores: in the order of the class ids.
        confusion: rows by (class id, id of the class that they were taken for).

    """

    scores: tuple[ClassScore, ...]
    confusion: dict[tuple[int, int], int]

    @classmethod
    def of(
        cls, names: Sequence[str], true: Sequence[int], told: Sequence[int]
    ) -> "ByClass":
        """Count what was told.

        Args:
            names: of the classes by id.
            true: class id of each row.
            told: class id that the model gives each row.

        """
        pairs = Counter(zip(true, told, strict=True))
        examples, predicted = Counter(true), Counter(told)
        scores = []
        for i, name in enumerate(names):
            right, there, taken = pairs[i, i], examples[i], predicted[i]
            parts = _part(right, taken), _part(right, there)
            f1 = _part(2 * right, there + taken)
            scores.append(ClassScore(name, *parts, f1, there, taken))
        return cls(tuple(scores), dict(sorted(pairs.items())))

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 of the classes that occur or were told."""
        found = [score.f1 for score in self.scores if score.f1 is not None]
        return sum(found) / len(found) if found else None

    @property
    def worst(self) -> list[ClassScore]:
        """Classes with test rows, that with the lowest F1 first."""
        there = [s for s in self.scores if s.examples and s.f1 is not None]
        return sorted(there, key=lambda score: (score.f1 or 0.0, -score.examples))

    @property
    def confused(self) -> list[tuple[str, str, int]]:
        """(class, what it was taken for, rows), the commonest mistake first."""
        wrong = [(i, j, n) for (i, j), n in self.confusion.items() if i != j]
        wrong.sort(key=lambda entry: (-entry[2], entry[:2]))
        return [(self.scores[i].name, self.scores[j].name, n) for i, j, n in wrong]

    @property
    def lines(self) -> list[str]:
        """For people: the classes told worst, and what is confused most."""
        worst = [f"{score.name} {score.f1:.2f}" for score in self.worst[:_FEW]]
        wrong = [f"{true} for {told} ({n})" for true, told, n in self.confused[:_FEW]]
        found = []
        if worst:
            found.append(f"lowest F1 of {len(self.worst)} classes: {', '.join(worst)}")
        if wrong:
            found.append(f"taken most often: {', '.join(wrong)}")
        return found


def _part(some: int, of: int) -> float | None:
    """Share of a count; None where there is none."""
    return some / of if of else None


def write(folder: Path, found: ByClass) -> None:
    """Write both files into a folder.

    Raises:
        OSError: it cannot be written.

    """
    # Flower's log comes with it, which who lists runs need not wait for.
    from ilora_app.runs.writing import whole

    rows = [
        {key: "" if value is None else value for key, value in vars(score).items()}
        for score in found.scores
    ]
    whole(folder / CLASSES, _csv(("class", *_NUMBERS, *_COUNTS), [
        [row["name"], *(row[key] for key in (*_NUMBERS, *_COUNTS))] for row in rows
    ]))  # fmt: skip
    names = [score.name for score in found.scores]
    pairs = [[names[i], names[j], n] for (i, j), n in found.confusion.items()]
    whole(folder / CONFUSION, _csv(("class", "taken_for", "rows"), pairs))


def read(folder: Path) -> ByClass | None:
    """Read both files; None where they are not there, or are none of a run."""
    with suppress(OSError, KeyError, TypeError, ValueError, csv.Error):
        scores = []
        for row in _rows(folder / CLASSES):
            precision, recall, f1 = (number(row[key]) for key in _NUMBERS)
            examples, predicted = (int(row[key]) for key in _COUNTS)
            scores.append(
                ClassScore(row["class"], precision, recall, f1, examples, predicted)
            )
        places = {score.name: i for i, score in enumerate(scores)}
        confusion = {
            (places[row["class"]], places[row["taken_for"]]): int(row["rows"])
            for row in _rows(folder / CONFUSION)
        }
        return ByClass(tuple(scores), confusion) if scores else None
    return None


def _csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))
