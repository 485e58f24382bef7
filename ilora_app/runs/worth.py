"""What the accuracy of a run is worth: beside guessing, and beside no training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ilora_app.runs.reading import number

BASELINES = (
    ("majority_class", "guessing the commonest class"),
    ("tfidf", "TF-IDF and a linear model, texts pooled"),
)
"""(key in the event ``baselines``, what people read)."""

MEASURES = (
    ("perplexity", "perplexity"),
    ("exact_match", "exact match"),
    ("f1", "F1"),
    ("micro_f1", "micro F1"),
    ("macro_f1", "macro F1"),
    ("spearman", "rank correlation (Spearman)"),
)
"""(column of metrics.csv, what people read) of tasks beyond one class a row."""

PROBE = ("linear_probe", "linear probe, round 0")


@dataclass(frozen=True)
class Worth:
    """Numbers on the server's test split; None where there is none.

    Attributes:
        accuracy: of the global model at the end.
        best: its largest.
        best_round: the first round that had it.
        macro_f1: mean F1 of the classes, at the end.
        majority_class: of guessing the commonest class.
        tfidf: of a linear model on the pooled texts.
        linear_probe: before training, where the head was solved.
        measures: by their columns, what else the task has at the end.

    """

    accuracy: float | None = None
    best: float | None = None
    best_round: int | None = None
    macro_f1: float | None = None
    majority_class: float | None = None
    tfidf: float | None = None
    linear_probe: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> "Worth":
        """Read it from rows of metrics.csv and from events."""
        last = rows[-1] if rows else {}
        told = [(row["accuracy"], row) for row in rows if "accuracy" in row]
        if not told:
            return cls(measures=_measures(last))
        best, best_row = max(told, key=lambda pair: pair[0])
        found: Mapping[str, Any] = next(
            (e for e in reversed(events) if e.get("event") == "baselines"), {}
        )
        # Guessing a class is of one class a row; the F1 of tags is that of entities.
        macro = [row["f1"] for _, row in told if "f1" in row and found]
        measures = _measures({k: v for k, v in last.items() if k != "f1" or not macro})
        first = rows[0]
        solved = first.get("head_examples") and not first["round"]
        return cls(
            accuracy=told[-1][0],
            best=best,
            best_round=int(best_row["round"]),
            macro_f1=macro[-1] if macro else None,
            linear_probe=first.get("accuracy") if solved else None,
            measures=measures,
            **{key: number(found.get(key)) for key, _ in BASELINES},
        )

    @property
    def beside(self) -> list[tuple[str, float]]:
        """(what people read, accuracy) of what is reached without training."""
        known = asdict(self)
        named = [(name, known[key]) for key, name in (*BASELINES, PROBE)]
        return [(name, value) for name, value in named if value is not None]

    @property
    def named(self) -> list[tuple[str, float]]:
        """(what people read, value) of the measures."""
        known = dict(MEASURES) | {"loss": "mean squared error"}
        return [(known[key], value) for key, value in self.measures.items()]

    @property
    def line(self) -> str:
        """All of it in one line; empty where nothing is known."""
        parts = []
        if self.accuracy is not None:
            of = "token accuracy" if "perplexity" in self.measures else "accuracy"
            parts.append(f"{of} {self.accuracy:.4f}")
        if self.macro_f1 is not None:
            parts.append(f"macro F1 {self.macro_f1:.4f}")
        text = ", ".join([*parts, *(f"{name} {x:.4f}" for name, x in self.named)])
        beside = ", ".join(f"{name} {value:.4f}" for name, value in self.beside)
        return f"{text}; {beside}" if beside else text


def _measures(row: Mapping[str, Any]) -> dict[str, float]:
    keys = [key for key, _ in MEASURES]
    if "spearman" in row:
        keys.append("loss")
    return {key: row[key] for key in keys if row.get(key) is not None}
