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
        measured: the round that all of it is of, where later ones were not measured.
        lost: measures that rounds before it had, and are no finite number in it.

    """

    accuracy: float | None = None
    best: float | None = None
    best_round: int | None = None
    macro_f1: float | None = None
    majority_class: float | None = None
    tfidf: float | None = None
    linear_probe: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    measured: int | None = None
    lost: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, rows: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> "Worth":
        """Read it from rows of metrics.csv and from events."""
        told = [(row["accuracy"], row) for row in rows if "accuracy" in row]
        last = _last_measured(rows)
        at = int(last["round"]) if last and last is not rows[-1] else None
        if not told:
            return cls(measures=_measures(last), measured=at)
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
            measured=at,
            lost=_lost(rows, last),
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
    def accuracy_of(self) -> str:
        """What the accuracy is of: of a model that writes, single tokens."""
        writes = "perplexity" in (*self.measures, *self.lost)
        return "token accuracy" if writes else "accuracy"

    @property
    def more(self) -> list[str]:
        """The measures in words."""
        lost = [f"no finite {dict(MEASURES)[key]}" for key in self.lost]
        return [f"{name} {value:.4f}" for name, value in self.named] + lost

    @property
    def line(self) -> str:
        """All of it in one line; empty where nothing is known."""
        parts = []
        if self.accuracy is not None:
            parts.append(f"{self.accuracy_of} {self.accuracy:.4f}")
        if self.macro_f1 is not None:
            parts.append(f"macro F1 {self.macro_f1:.4f}")
        text = ", ".join([*parts, *self.more])
        text += (
            f" (round {self.measured})" if text and self.measured is not None else ""
        )
        beside = ", ".join(f"{name} {value:.4f}" for name, value in self.beside)
        return f"{text}; {beside}" if beside else text


def _last_measured(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last round whose model was measured on the test split; else the last."""
    found = (r for r in reversed(rows) if "accuracy" in r or "spearman" in r)
    return next(found, rows[-1] if rows else {})


def _lost(
    rows: Sequence[Mapping[str, Any]], last: Mapping[str, Any]
) -> tuple[str, ...]:
    """A perplexity is infinite where a model diverges, and left out while reading."""
    key = "perplexity"
    return (key,) if key not in last and any(key in row for row in rows) else ()


def _measures(row: Mapping[str, Any]) -> dict[str, float]:
    keys = [key for key, _ in MEASURES]
    if "spearman" in row:
        keys.append("loss")
    return {key: row[key] for key in keys if row.get(key) is not None}
