"""Repeats a table of the study from nothing, and compares it with the committed one.

    python -m benchmarks.reproduce strategies --data DATA --out DIR [--tasks clinc150]
        [--settings skewed] [--seeds 5]

Says beforehand how long the committed runs took. On the same type of machine, with the
same versions, every run ends with the same numbers.
"""

import argparse
import sys
from pathlib import Path

if not __package__:  # started as a file: others have a package of that name
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import analysis, personal, study
from benchmarks.design import SEEDS, TABLES, rows
from benchmarks.recorded import COMMITTED, Run, Study, score


def minutes(done: Study, wanted: set[Run]) -> float:
    """What the committed ones of some runs took together."""
    return sum(done.results[run].get("seconds", 0.0) for run in wanted) / 60


def main() -> None:
    """Run the table, print it, and how far it is from the committed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default="clinc150")
    parser.add_argument("--settings", default="skewed")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--committed", type=Path, default=COMMITTED)
    given = parser.parse_args()
    tasks, settings = given.tasks.split(","), given.settings.split(",")
    committed = Study(given.committed)
    same = {
        run
        for run in committed.results
        if run.task in tasks
        and run.row in rows(given.table, run.task)
        and run.setting in {*settings, "skewed"}
        and run.seed < given.seeds
    }
    spent = minutes(committed, same)
    print(f"{len(same)} runs of it are committed; they took {spent:.0f} minutes.")
    given.out.mkdir(parents=True, exist_ok=True)
    anew = Study(given.out / "runs.jsonl")
    part = study.Part(given.table, tasks, settings)
    study.complete(anew, [part], given.seeds, given.data)
    for task in tasks:
        for setting in settings:
            names = list(rows(given.table, task))
            print("\n".join(analysis.table(anew, task, setting, names, names[0])))
            if given.table == "personal":
                print("\n".join(personal.table(anew, task, setting)))
    both = sorted(same & anew.results.keys(), key=str)
    gaps = {
        run: abs((score(anew.results[run]) or 0) - (score(committed.results[run]) or 0))
        for run in both
    }
    worst = max(gaps, key=lambda run: gaps[run], default=None)
    if worst:
        equal = sum(not gap for gap in gaps.values())
        print(f"{equal} of {len(gaps)} runs end with the committed accuracy; ", end="")
        print(f"the largest difference is {gaps[worst]:.4f}, of {worst}.")


if __name__ == "__main__":
    main()
