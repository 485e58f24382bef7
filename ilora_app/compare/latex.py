"""table.tex: the comparison as a table for a paper (booktabs)."""

from collections.abc import Sequence

from ilora_app.compare.differences import behind_best
from ilora_app.compare.finished import Spread
from ilora_app.compare.results import Summary, leaders
from ilora_app.compare.sections import Column, Section
from ilora_app.compare.tables import named
from ilora_app.runs.places import from_home

_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
}  # fmt: skip
_SEEN = ("final_accuracy", "best_accuracy", "worst_client", "accuracy_r", "mb_")
_TIE = r"$^{=}$"


def latex(sections: Sequence[Section], about: Sequence[str]) -> str:
    """A table for each section: the best of each column bold, ties of the best marked.

    Args:
        sections: of the comparison.
        about: how it was made, for the comments.

    """
    parts = [f"% {line}" for text in about for line in text.splitlines()]
    parts.append("% Needs \\usepackage{booktabs}.")
    for section in sections:
        if section.shown:
            parts += ["", *_table(section)]
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX sets it."""
    return "".join(_SIGNS.get(sign, sign) for sign in from_home(text))


def _table(section: Section) -> list[str]:
    columns = [c for c in section.columns if c.key.startswith(_SEEN)]
    ties = {row.name for row in behind_best(section) if row.tied}
    groups = [
        [(s, [_spread(s, column) for column in columns]) for s in summaries]
        for _, summaries in section.groups
    ]
    columns = [
        column
        for i, column in enumerate(columns)
        if any(spreads[i] for rows in groups for _, spreads in rows)
    ]
    target = "" if section.target is None else f" {section.target:.3f}"
    heads = [
        escaped(c.head + (target if c.key.endswith("_to_target") else ""))
        for c in columns
    ]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(section.title)}. Mean $\pm$ standard deviation over "
        r"seeds; best of the methods with the most seeds in bold. $^{=}$: the 95\,\% "
        r"interval of the difference from the best, paired by seed, has 0 in it.}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["method", *heads]) + r" \\",
    ]
    for name, summaries in section.groups:
        lines.append(r"\midrule")
        whole = leaders(summaries)
        names = {summary.name for summary in whole}
        best = _best(whole, columns) if name == "methods" else {}
        for summary in summaries:
            bold = best if summary.name in names else {}
            cells = [_cell(summary, column, bold) for column in columns]
            if summary.name in ties:
                cells[0] += _TIE
            lines.append(" & ".join([escaped(named(summary)), *cells]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _spread(summary: Summary, column: Column) -> Spread | None:
    return Spread.of(column.value(run) for run in summary.runs)


def _best(summaries: Sequence[Summary], columns: Sequence[Column]) -> dict[str, str]:
    """The best mean of each column of accuracies, as it is printed."""
    found = {}
    for column in columns:
        means = [s.mean for one in summaries if (s := _spread(one, column))]
        if means and column.deviation:
            found[column.key] = format(max(means), column.form)
    return found


def _cell(summary: Summary, column: Column, best: dict[str, str]) -> str:
    spread = _spread(summary, column)
    if spread is None:
        return "--"
    text = format(spread.mean, column.form)
    mean = rf"\textbf{{{text}}}" if text == best.get(column.key) else text
    if column.deviation and spread.n > 1:
        return rf"{mean} $\pm$ {spread.std:{column.form}}"
    return mean
