"""Bytes to a target: what a row has sent when it is where FedIT ends.

    python -m benchmarks.targets [--runs FILE] [--setting skewed]

The target of a task is where FedIT ends, the mean of its seeds: accuracy, or the loss
of a language model. A row has reached it at the first evaluation (after half of the
rounds, and at the end) that is at least as good, and has sent by then what all
clients have sent and received. All rows make the same local steps in a round, so that
rounds stand for seconds, which the machine's other work decides here.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analysis import Cell, cell
from benchmarks.design import TABLES
from benchmarks.laboratory import Config
from benchmarks.recorded import COMMITTED, Study

TASKS = ("clinc150", "banking77", "cifar10", "e2e", "dolly")


@dataclass(frozen=True)
class Reached:
    """When a run first was as good as asked.

    Attributes:
        round: of the first evaluation that was.
        megabytes: sent until then, both ways, by all clients.

    """

    round: int
    megabytes: float


def reached(result: Config, target: float, language: bool) -> Reached | None:
    """When a run was as good as a target; None where it never was.

    Args:
        result: of the run.
        target: accuracy, or the loss of a language model.
        language: whether it is a loss.

    """
    sent = 0.0
    for row in result["rows"]:
        sent += sum(v for k, v in row.items() if k.startswith("bytes"))
        found = row.get("loss" if language else "accuracy")
        if found is None or not row["round"]:
            continue
        if found <= target if language else found >= target:
            return Reached(row["round"], sent / 1e6)
    return None


def told(found: Cell | None, target: float) -> str:
    """Mean megabytes of the seeds that reach a target, the round, and how many do."""
    if found is None:
        return "–"
    ends = [reached(r, target, found.language) for r in found.runs.values()]
    hits = [end for end in ends if end]
    if not hits:
        return f"– (0 of {len(ends)})"
    sent = statistics.fmean(hit.megabytes for hit in hits)
    rounds = statistics.fmean(hit.round for hit in hits)
    return f"{sent:.0f}, {rounds:.0f} ({len(hits)} of {len(ends)})"


def table(study: Study, setting: str = "skewed") -> list[str]:
    """Lines of Markdown: a row each, in the order of the study."""
    targets = {}
    for task in TASKS:
        if found := cell(study, task, setting, "fedit"):
            targets[task] = found.final()
    lines = [
        "| MB, rounds (seeds) to | "
        + " | ".join(f"{task}, {target:.3f}" for task, target in targets.items())
        + " |",
        "|---" * (len(targets) + 1) + "|",
    ]
    for row in TABLES["strategies"]:
        cells = [
            told(cell(study, task, setting, row), target)
            for task, target in targets.items()
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=COMMITTED)
    parser.add_argument("--setting", default="skewed")
    given = parser.parse_args()
    print("\n".join(table(Study(given.runs), given.setting)))


if __name__ == "__main__":
    main()
