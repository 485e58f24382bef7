"""How the lines of a comparison look: each row has a style that no other has."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ilora_app.compare.results import BOUND, Summary, kind_of
from ilora_app.report.drawing import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
DASHES = ("-", "--", ":", "-.")
GREY = COLOURS[-1]


@dataclass(frozen=True)
class Style:
    """Colour of the strategy; dash and marker together are the row's alone."""

    colour: str
    dash: str
    marker: str


OTHERS = Style(GREY, "-", "")
"""Of rows that are not among the best, where there are many."""


def styles(summaries: Sequence[Summary]) -> dict[str, Style]:
    """A style for each row; rows of one strategy share a colour.

    Dash and marker tell up to forty rows apart in grey, and for a reader who sees no
    colours. A row without settings is solid as long as there are markers for it.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for summary in summaries:
        fixed = summary.entry.preset.strategy is not None
        strategy = str(dict(summary.entry.row.changes)["strategy"])
        key = summary.name if fixed else strategy
        names = groups.setdefault((kind_of(summary) == BOUND, key), [])
        if summary.name not in names:
            names.append(summary.name)
    found: dict[str, Style] = {}
    taken: set[tuple[str, str]] = set()
    for bound, palette in ((False, COLOURS[:-1]), (True, (GREY,))):
        keys = [key for kind, key in groups if kind == bound]
        for i, key in enumerate(keys):
            # A row without settings is solid, whatever its place among the others.
            names = sorted(groups[bound, key], key=_has_settings)
            for j, name in enumerate(names, start=int(_has_settings(names[0]))):
                dash, marker = _free(i, j, taken)
                taken.add((dash, marker))
                found[name] = Style(palette[i % len(palette)], dash, marker)
    return found


def _free(i: int, j: int, taken: set[tuple[str, str]]) -> tuple[str, str]:
    """The first pair of dash and marker from a place on that no row has yet."""
    pairs = [
        (DASHES[(j + d) % len(DASHES)], MARKERS[(i + m) % len(MARKERS)])
        for d, m in product(range(len(DASHES)), range(len(MARKERS)))
    ]
    return next((pair for pair in pairs if pair not in taken), pairs[0])


def _has_settings(name: str) -> bool:
    return "+" in name
