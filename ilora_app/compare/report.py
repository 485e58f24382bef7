"""Writes what a comparison came to: tables, figures, and index.html."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ilora_app.compare.grid import Grid
from ilora_app.compare.jobs import Record
from ilora_app.compare.latex import latex
from ilora_app.compare.plan import Plan
from ilora_app.compare.request import Request
from ilora_app.compare.results import Summary, summarise
from ilora_app.compare.sections import Section, measure_of
from ilora_app.compare.tables import markdown, raw
from ilora_app.report.pictures import FORMATS
from ilora_app.runs.places import from_home
from ilora_app.settings.parsing import count

_TABLES = ("index.html", "table.md", "table.csv", "table.tex")
_FIGURES = ("final", "curves", "cost")
_NAMED = 4


def files(request: Request) -> tuple[str, ...]:
    """Names of what is written in the end."""
    names = [*_FIGURES, "grid"] if request.grid else _FIGURES
    return (*_TABLES, *(f"{name}.{kind}" for name in names for kind in FORMATS))


def sections_of(plan: Plan, target: str) -> list[Section]:
    """Read the results, section by section."""
    groups: dict[str, list[Summary]] = {}
    for entry in plan.entries:
        groups.setdefault(entry.preset.section, []).append(summarise(plan, entry))
    return [Section.of(name, found, target) for name, found in groups.items()]


def write(plan: Plan, request: Request, draft: bool = False) -> list[Section]:
    """Write all files into the comparison's folder; returns what is in them.

    A draft, while runs are still to come, has tables and the page with its figures.
    """
    from ilora_app.compare import heat_map, page, plots

    sections = sections_of(plan, request.target)
    about = about_lines(plan, request, sections)
    grid, text = request.cells, markdown(sections, about, title(sections))
    if grid:
        text += "".join(_grid_table(grid, section) for section in sections)
    _write(plan.out / "table.md", from_home(text))
    _write(plan.out / "table.csv", from_home(raw(sections)))
    _write(plan.out / "table.tex", latex(sections, about))
    pictures = plots.pictures(sections)
    images = [(picture.title, picture.svg()) for picture in pictures]
    made: dict[str, Callable[[str], bytes]] = (
        {} if draft else {p.name: p.file for p in pictures}
    )
    if grid:
        heat = heat_map.draw(grid, sections, FORMATS)
        images.insert(0, (f"What {grid.key} is worth", page.image(heat["png"], "grid")))
        made["grid"] = heat.__getitem__
    for name, drawn in made.items():
        for kind in FORMATS:
            (plan.out / f"{name}.{kind}").write_bytes(drawn(kind))
    _write(plan.out / "index.html", page.html(sections, about, images, title(sections)))
    return sections


def title(sections: Sequence[Section]) -> str:
    """What is compared, in a line."""
    names = list(dict.fromkeys(s.name for one in sections for s in one.summaries))
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"Comparison of {shown}{more}" if names else "Comparison"


def _grid_table(grid: Grid, section: Section) -> str:
    lines = [f"\n## {section.name}: {grid.key}\n", *grid.markdown(section)]
    return "\n".join(lines) + "\n"


def about_lines(plan: Plan, request: Request, sections: Sequence[Section]) -> list[str]:
    """What the numbers were made with, and how they are meant."""
    records = [r for s in sections for summary in s.summaries for r in summary.records]
    rates = ", ".join(f"{rate:g}" for rate in plan.rates)
    measure = measure_of(sections)
    by = measure if measure == "accuracy" else "loss"
    chosen = (
        f"Learning rate of each row from {rates}, by {by} on the clients' held-out "
        f"data over {len(plan.seeds[: plan.select])} of {len(plan.seeds)} seeds"
        + (
            f", and between the best {plan.finalists} over all of them"
            if plan.finalists > 1
            else ""
        )
        + (f" under {plan.rates_from}" if plan.rates_from else "")
        + "; the test split takes no part in choosing."
        if len(plan.rates) > 1
        else f"Learning rate {rates} for every row."
    )
    minutes = sum(record.seconds for record in records) / 60
    return [
        f"Command: `{request.command(plan.out)}`",
        f"Seeds {', '.join(map(str, plan.seeds))}: mean ± standard deviation.",
        chosen,
        f"{measure.capitalize()} on the test split. MB up and down: training "
        "messages of a round, all clients together; MB to, in all: with those of a "
        "solved head and of secure aggregation. s server, s client: seconds of a round "
        "to aggregate, and to train on one client.",
        f"Hardware: {_values([r.hardware for r in records])}. "
        f"Engine: {_values([r.engine for r in records])}. "
        f"{count(len(records), 'run')} of {minutes:.1f} minutes together.",
        f"Versions: {_values([_versions(r) for r in records])}.",
    ]


def _versions(record: Record) -> str:
    return ", ".join(f"{name} {number}" for name, number in record.versions.items())


def _values(found: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(found)) or "none yet"


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
