"""What the accuracy of a run is worth: beside guessing, and beside no training."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ilora_app.runs.reading import number

BASELINES = (
    ("majority_class", "guessing the commonest class"),
    ("tfidf", "TF-IDF and a linear model, texts pooled"),
)
"""(key in the event ``baselines``, what people read)."""

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

    """

    accuracy: float | None = None
    best: float | None = None
    best_round: int | None = None
    macro_f1: float | None = None
    majority_class: float | None = None
    tfidf: float | None = None
    linear_probe: float | None = None

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> "Worth":
        """Read it from rows of metrics.csv and from events."""
        told = [(row["accuracy"], row) for row in rows if "accuracy" in row]
        if not told:
            return cls()
        best, best_row = max(told, key=lambda pair: pair[0])
        found: Mapping[str, Any] = next(
            (e for e in reversed(events) if e.get("event") == "baselines"), {}
        )
        macro = [row["f1"] for _, row in told if "f1" in row]
        first = rows[0]
        solved = "head_examples" in first and not first["round"]
        return cls(
            accuracy=told[-1][0],
            best=best,
            best_round=int(best_row["round"]),
            macro_f1=macro[-1] if macro else None,
            linear_probe=first.get("accuracy") if solved else None,
            **{key: number(found.get(key)) for key, _ in BASELINES},
        )

    @property
    def beside(self) -> list[tuple[str, float]]:
        """(what people read, accuracy) of what is reached without training."""
        known = asdict(self)
        named = [(name, known[key]) for key, name in (*BASELINES, PROBE)]
        return [(name, value) for name, value in named if value is not None]

    @property
    def line(self) -> str:
        """All of it in one line; empty where no accuracy is known."""
        if self.accuracy is None:
            return ""
        parts = [f"accuracy {self.accuracy:.4f}"]
        if self.macro_f1 is not None:
            parts.append(f"macro F1 {self.macro_f1:.4f}")
        text = ", ".join(parts)
        beside = ", ".join(f"{name} {value:.4f}" for name, value in self.beside)
        return f"{text}; {beside}" if beside else text
