"""Methods whose clients keep models of their own, on the clients' own held-out data.

python -m benchmarks.personal [--runs FILE]

A table of test rows that stand for all clients says nothing about them: what a client
of theirs answers well is what it holds itself. The last column is that table's, of the
mean of the clients' models.
"""

import argparse
from pathlib import Path

from benchmarks.analysis import Cell, cell
from benchmarks.design import TABLES
from benchmarks.recorded import COMMITTED, Study, last
from ilora_app.compare.intervals import Difference, corrected, over_seeds

OWN = "client_accuracy_mean"


def own_difference(one: Cell, other: Cell) -> Difference | None:
    """Of the mean accuracy of clients on their own data, paired by seed."""
    seeds = sorted(one.runs.keys() & other.runs.keys())
    if not seeds:
        return None
    pairs = [[last(c.runs[seed], OWN) or 0.0 for c in (one, other)] for seed in seeds]
    return over_seeds([a - b for a, b in pairs])


def table(study: Study, task: str, setting: str) -> list[str]:
    """Lines of Markdown: a row each, the best on the clients' own data first."""
    reference, *others = TABLES["personal"]
    cells = {
        row: found
        for row in (reference, *others)
        if (found := cell(study, task, setting, row))
    }
    if reference not in cells:
        return []
    gaps = {
        row: gap
        for row in others
        if row in cells and (gap := own_difference(cells[row], cells[reference]))
    }
    p = dict(zip(gaps, corrected(list(gaps.values())), strict=True))
    lines = [
        f"| {task}, {setting} | clients' own data | less {reference} | worst client "
        "| test split | MB | rate | seeds |",
        "|---" * 8 + "|",
    ]
    for row in sorted(cells, key=lambda row: -(cells[row].mean(OWN) or 0.0)):
        found, text = cells[row], ""
        if row in gaps:
            text = str(gaps[row])
            text = f"**{text}**" if p[row] < 0.05 else text
        lines.append(
            f"| {row} | {found.mean(OWN):.3f} | {text} "
            f"| {found.mean('client_accuracy_worst'):.3f} | {found.final():.3f} "
            f"| {found.megabytes():.0f} | {found.rate:g} | {len(found.runs)} |"
        )
    return lines


def main() -> None:
    """Print the tables of what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=COMMITTED)
    study = Study(parser.parse_args().runs)
    places = {(run.task, run.setting) for run in study.results if run.row == "local"}
    for task, setting in sorted(places):
        print("\n".join([*table(study, task, setting), ""]))


if __name__ == "__main__":
    main()
