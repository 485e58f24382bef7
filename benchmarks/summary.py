"""Final accuracy of every row of several comparisons in one table, for the README.

    python benchmarks/summary.py benchmarks/results/*/table.csv

A column for every preset: mean ± standard deviation over the seeds, and the learning
rate that was chosen. Rows are sorted by their mean over the columns; bounds come last,
and after them what needs no federation.
"""

import csv
import statistics
import sys
from pathlib import Path

NAMES = {
    "drift-correction=none": "",
    "drift-correction=control-variates": "control variates",
    "control-scope=head": "on the head alone",
    "control-scope=factors": "on the factors alone",
    "residual=merge": "residual merged",
}
LAST = {"bound": 1, "baseline": 2}
"""Kinds of rows that come after all others, in this order."""


def label(row: str) -> str:
    """Write the name of a row in words."""
    strategy, *changes = row.split("+")
    scoped = any(change.startswith("control-scope") for change in changes)
    words = [NAMES.get(change, change.replace("=", " ")) for change in changes]
    if scoped:
        words = ["control variates"] + [w for w in words if w != "control variates"]
        return f"{strategy} + {' '.join(words)}"
    words = [word for word in words if word]
    plain = not any(change.startswith("drift-correction") for change in changes)
    if strategy == "ilora" and plain:  # it corrects where nothing else is said
        words.insert(0, "control variates")
    return " + ".join([strategy, *words])


def main(files: list[str]) -> None:
    """Print the table."""
    cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    presets: list[str] = []
    for file in files:
        with Path(file).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                key = (row["kind"], label(row["method"]))
                cells.setdefault(key, {})[row["preset"]] = row
                if row["preset"] not in presets:
                    presets.append(row["preset"])

    def order(key: tuple[str, str]) -> tuple[int, float]:
        found = [row["final_accuracy_mean"] for row in cells[key].values()]
        values = [float(value) for value in found if value]
        return LAST.get(key[0], 0), -statistics.fmean(values) if values else 0.0

    print("| | " + " | ".join(presets) + " |")
    print("|---" * (1 + len(presets)) + "|")
    for key in sorted(cells, key=order):
        texts = []
        for preset in presets:
            row = cells[key].get(preset)
            if not row or not row["final_accuracy_mean"]:
                texts.append("-")
                continue
            text = f"{float(row['final_accuracy_mean']):.3f}"
            # One value has no deviation, and what trains nothing no rate.
            if row["final_accuracy_std"]:
                text += f" ± {float(row['final_accuracy_std']):.3f}"
            if row["learning_rate"]:
                edge = "†" if row["learning_rate_at_edge"] == "True" else ""
                text += f" ({float(row['learning_rate']):g}{edge})"
            texts.append(text)
        print(f"| {key[1]} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
