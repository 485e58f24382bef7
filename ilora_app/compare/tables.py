"""The comparison as a table: table.md for people, table.csv with raw numbers."""

import csv
import io
from collections.abc import Sequence

from ilora_app.compare import differences
from ilora_app.compare.finished import Spread
from ilora_app.compare.jobs import FINISHED
from ilora_app.compare.results import Summary, kind_of
from ilora_app.compare.sections import Column, Section


def heads(section: Section) -> list[str]:
    """Heads of the table of people."""
    named = "target" if section.target is None else f"{section.target:.3f}"
    return [
        "method",
        "lr",
        *(
            f"{c.head} {named}" if c.key.endswith("_to_target") else c.head
            for c in section.columns
        ),
    ]


def cells(section: Section, summary: Summary) -> list[str]:
    """One row of the table of people."""
    rate = summary.choice.rate
    mark = "†" if summary.choice.edge else ""
    found = ["–" if rate is None else f"{rate:g}{mark}"]
    for column in section.columns:
        spread = Spread.of(column.value(run) for run in summary.runs)
        found.append(_cell(spread, column, len(summary.runs)))
    return [named(summary), *found]


def named(summary: Summary) -> str:
    """Name of a row, with how many of its seeds it has where it lacks some."""
    done = len(summary.runs)
    asked = done + summary.missing + _failed_at(summary)
    return summary.name if done == asked else f"{summary.name} ({done} of {asked})"


def groups(section: Section) -> list[tuple[str, list[list[str]]]]:
    """Rows of the table of people by kind, what needs no federation last."""
    found = [
        (name, [cells(section, summary) for summary in summaries])
        for name, summaries in section.groups
    ]
    width = len(heads(section))
    rows = [
        [name, "–", f"{spread.mean:.3f}", *["–"] * (width - 3)]
        for name, spread in section.baselines
    ]
    return [*found, ("no federation", rows)] if rows else found


def failures(section: Section) -> list[tuple[str, str]]:
    """(runs, reason) of what failed; the runs of a row with one reason together."""
    found: dict[tuple[str, str], dict[float, list[int]]] = {}
    for summary in section.summaries:
        for job, record in summary.failures:
            reason = " ".join(record.reason.split())
            rates = found.setdefault((job.row, reason), {})
            rates.setdefault(job.rate, []).append(job.seed)
    return [
        (f"{row}, {'; '.join(map(_runs, rates.items()))}", reason)
        for (row, reason), rates in found.items()
    ]


def _runs(found: tuple[float, list[int]]) -> str:
    rate, seeds = found
    noun = "seed" if len(seeds) == 1 else "seeds"
    return f"lr {rate:g}, {noun} {', '.join(map(str, sorted(seeds)))}"


def notes(section: Section) -> list[str]:
    """What has to be said below a table."""
    found = []
    if any(s.choice.edge for s in section.summaries if s.runs):
        found.append("† the rate is the smallest or the largest that was tried.")
    for s in section.summaries:
        if s.choice.rate is None and any(r.status == FINISHED for r in s.records):
            why = "its runs say nothing of held-out data: give one with --lr"
            found.append(f"{s.name}: no rate is chosen, as {why}.")
        elif s.missing and not s.failures:
            found.append(f"{s.name}: {s.missing} runs are still to come.")
    return found


def markdown(
    sections: Sequence[Section], about: Sequence[str], title: str = "Comparison"
) -> str:
    """table.md."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.shown:
            width = heads(section)
            lines += [_row(width), _row(["---"] * len(width))]
            for name, rows in groups(section):
                if name != "methods":
                    lines.append(_row([f"*{name}*", *[""] * (len(width) - 1)]))
                lines += [_row(row) for row in rows]
            lines.append("")
        lines += [line for note in notes(section) for line in (note, "")]
        lines += _behind(section)
        if failures(section):
            lines += ["Failed:", ""]
            lines += [f"- {run}: {reason}" for run, reason in failures(section)]
            lines.append("")
    return "\n".join([*lines, *(f"{line}  " for line in about), ""])


def _behind(section: Section) -> list[str]:
    width, rows = differences.table(section)
    if not rows:
        return []
    lines = [_row(width), _row(["---"] * len(width)), *map(_row, rows)]
    return [differences.about(section), "", *lines, ""]


def raw(sections: Sequence[Section]) -> str:
    """table.csv: mean, standard deviation and number of seeds, each in a column."""
    rows = numbers(sections)
    names = list(rows[0]) if rows else []
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def numbers(sections: Sequence[Section]) -> list[dict[str, object]]:
    """Rows of all sections with raw numbers; None where there is no number."""
    rows: list[dict[str, object]] = []
    for section in sections:
        rows += [_numbers(section, kind_of(s), s) for s in section.shown]
        rows += [
            {
                "preset": section.name,
                "method": name,
                "kind": "baseline",
                "status": "computed",
                "final_accuracy_mean": spread.mean,
                "final_accuracy_n": spread.n,
            }
            for name, spread in section.baselines
        ]
        rows += [_numbers(section, "none", summary) for summary in section.empty]
    every: dict[str, object] = dict.fromkeys(name for row in rows for name in row)
    return [every | row for row in rows]


def _numbers(section: Section, kind: str, summary: Summary) -> dict[str, object]:
    reasons = [" ".join(record.reason.split()) for _, record in summary.failures]
    row: dict[str, object] = {
        "preset": summary.entry.preset.name,
        "method": summary.name,
        "kind": kind,
        "status": "finished" if summary.runs else "failed" if reasons else "not run",
        "learning_rate": summary.choice.rate,
        "learning_rate_at_edge": summary.choice.edge,
        "seeds": len(summary.runs),
        "target": section.target,
    }
    for column in section.columns:
        spread = Spread.of(column.value(run) for run in summary.runs)
        row[f"{column.key}_mean"] = spread.mean if spread else None
        row[f"{column.key}_std"] = spread.std if spread and spread.n > 1 else None
        row[f"{column.key}_n"] = spread.n if spread else 0
    return row | {"failed": len(reasons), "reason": "; ".join(dict.fromkeys(reasons))}


def _cell(spread: Spread | None, column: Column, runs: int) -> str:
    if spread is None:
        return f"0 of {runs}" if column.key.endswith("_to_target") else "–"
    text = format(spread.mean, column.form)
    if column.deviation and spread.n > 1:
        text += f" ± {spread.std:{column.form}}"
    return text if spread.n == runs else f"{text} ({spread.n} of {runs})"


def _failed_at(summary: Summary) -> int:
    rate = summary.choice.rate
    return sum(job.rate == rate for job, _ in summary.failures)


def _row(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "\\|") for value in values) + " |"
