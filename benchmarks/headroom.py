"""Headroom of a task: what fine-tuning adds to what needs none.

    python -m benchmarks.headroom --data DATA [TASK ...]

The commonest class, a linear support vector machine on TF-IDF of the study's training
texts, and a linear probe of the frozen model, beside training in one place and ILoRA,
both of the committed study under Dirichlet 0.1. Headroom is the better of the last two
less the best of the first three; next to it the standard error of the test split. Of a
language model stand the losses in nats a token, untrained in place of a probe.
"""

import argparse
import math
import statistics
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import laboratory
from benchmarks.recorded import COMMITTED, Study
from ilora_app import methods
from ilora_app.settings import Settings, parsing
from ilora_app.tasks import baselines, data
from ilora_app.tasks.labels import label_names

STUDIED = ("clinc150", "banking77", "cifar10", "qnli", "e2e", "dolly")


@dataclass(frozen=True)
class Simple:
    """What a test split gives up to what trains no network.

    Attributes:
        rows: of the test split.
        majority: share of its commonest class.
        tfidf: accuracy of a linear model on TF-IDF; None where there are no texts.

    """

    rows: int
    majority: float | None
    tfidf: float | None


def simple(task: str, folder: Path, cache: Path) -> Simple:
    """Measure it, on the rows that the study trains and tests with.

    Args:
        task: of the study.
        folder: with the data sets.
        cache: for those that are cut.

    """
    config = {k: v for k, v in laboratory.task(task, folder, cache).items() if v}
    settings, wrong = methods.parse(
        parsing.dump(Settings()) | {"test-examples": 0} | config
    )
    if wrong:
        raise ValueError("; ".join(wrong))
    task, seed = settings.model.task, settings.run.seed
    named = data.resolve_columns(settings.data, task, seed)
    settings = replace(settings, data=named)
    rows = data.test_rows(named, seed)
    if task == "causal-lm":
        return Simple(len(rows), None, None)
    labels = label_names(named, seed)
    counts = Counter(rows[named.label_column])
    share = max(counts.values()) / len(rows)
    return Simple(len(rows), share, baselines.tfidf(settings, labels))


def trained(study: Study, task: str, row: str) -> float | None:
    """Mean over the seeds of a row's final score; None where none has run."""
    finals = study.finals(task, "skewed", row)
    return statistics.fmean(finals.values()) if finals else None


def line(study: Study, task: str, found: Simple) -> str:
    """A row of Markdown."""
    rows = ("linear-probe", "centralized", "ilora")
    probe, centralized, ours = (trained(study, task, row) for row in rows)
    if found.majority is None:
        probe = _untrained(study, task)
    ends = [value for value in (centralized, ours) if value is not None]
    simpler = [v for v in (found.majority, found.tfidf, probe) if v is not None]
    room = max(ends) - max(simpler) if ends and simpler else None
    error = ""
    if found.majority is not None and ends:
        error = f"{math.sqrt(max(ends) * (1 - max(ends)) / found.rows):.3f}"
    cells = [found.majority, found.tfidf, probe, centralized, ours]
    texts = ["–" if v is None else f"{abs(v):.3f}" for v in cells]
    left = "–" if room is None else f"{room:+.3f}"
    return f"| {task} | {found.rows} | {' | '.join(texts)} | {left} | {error or '–'} |"


def _untrained(study: Study, task: str) -> float | None:
    """Mean log-likelihood of a token before the first round."""
    losses = [
        -result["rows"][0]["loss"]
        for run, result in study.results.items()
        if run.task == task and result.get("rows") and "loss" in result["rows"][0]
    ]
    return statistics.fmean(losses) if losses else None


HEAD = (
    "| | test rows | commonest class | TF-IDF | linear probe or untrained "
    "| in one place | ILoRA | headroom | error of the test split |",
    "|---" * 9 + "|",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=COMMITTED)
    parser.add_argument("tasks", nargs="*", default=list(STUDIED))
    given = parser.parse_args()
    study = Study(given.runs)
    print("\n".join(HEAD))
    with tempfile.TemporaryDirectory() as cache:
        for task in given.tasks:
            print(line(study, task, simple(task, given.data, Path(cache))))


if __name__ == "__main__":
    main()
