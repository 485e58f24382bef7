"""Numbers that docs/results.md quotes are those of the committed results."""

import json
import statistics
from pathlib import Path

import pytest

from benchmarks import switches

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TASKS = ("intents", "banking77", "sst2")
SVD = "aggregate products, decomposition svd"


def runs() -> list[dict[str, object]]:
    lines = (RESULTS / "switches" / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def finals(variant: str, task: str) -> dict[int, float]:
    return {
        run["seed"]: list(run["accuracy"].values())[-1]
        for run in runs()
        if (run["variant"], run["data"]) == (variant, task)
    }


def gap(one: str, other: str, task: str) -> tuple[float, float]:
    """Paired by seed: mean, standard deviation."""
    a, b = finals(one, task), finals(other, task)
    gaps = [a[seed] - b[seed] for seed in a.keys() & b.keys()]
    return statistics.fmean(gaps), statistics.stdev(gaps)


def words(value: float, sign: bool = True) -> str:
    """As a sentence writes it: -.001, .015."""
    text = f"{value:+.3f}" if sign and round(value, 3) < 0 else f"{abs(value):.3f}"
    return text.replace("0.", ".", 1)


def text_of(name: str) -> str:
    """A document with its line ends taken for blanks."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def test_the_table_of_switches_is_that_of_the_runs():
    made = switches.table(runs())
    assert (RESULTS / "switches" / "table.md").read_text().strip() == made.strip()
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    missing = [line for line in made.splitlines() if line not in told]
    assert not missing


@pytest.mark.parametrize(
    ("one", "other", "documents"),
    [
        (SVD, "fedit", ("docs/results.md",)),
        (SVD, "aggregate products", ("docs/results.md",)),
        ("products, svd, no base dropout, upper layers", SVD, ("docs/results.md",)),
    ],
)
def test_differences_in_sentences_are_those_of_the_runs(one, other, documents):
    for task in TASKS:
        mean, deviation = gap(one, other, task)
        sentence = f"{words(mean)} ± {words(deviation, False)}"
        for document in documents:
            assert sentence in text_of(document), (task, document)


def test_the_time_of_the_study_is_the_sum_of_its_runs():
    minutes = sum(run["seconds"] for run in runs()) / 60
    sentence = f"Runs: {len(runs())}, of about {minutes:.0f} minutes together"
    assert sentence in text_of("docs/results.md")
