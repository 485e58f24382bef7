"""Writes what a comparison came to: table.md, table.csv, two plots, index.html."""

from collections.abc import Sequence
from pathlib import Path

from ilora_app.compare.grid import Grid
from ilora_app.compare.jobs import Record
from ilora_app.compare.plan import Plan
from ilora_app.compare.request import Request
from ilora_app.compare.results import Summary, summarise
from ilora_app.compare.sections import Section
from ilora_app.compare.tables import markdown, raw
from ilora_app.settings.parsing import count

_FILES = ("table.md", "table.csv", "curves.png", "cost.png", "index.html")


def files(request: Request) -> tuple[str, ...]:
    """Names of what is written."""
    return (*_FILES, "grid.png") if request.grid else _FILES


def sections_of(plan: Plan, target: str) -> list[Section]:
    """Read the results, section by section."""
    groups: dict[str, list[Summary]] = {}
    for entry in plan.entries:
        groups.setdefault(entry.preset.section, []).append(summarise(plan, entry))
    return [Section.of(name, found, target) for name, found in groups.items()]


def write(plan: Plan, request: Request) -> list[Section]:
    """Write all files into the comparison's folder; returns what is in them."""
    from ilora_app.compare import heat_map, page, plots

    sections = sections_of(plan, request.target)
    about = about_lines(plan, request, sections)
    grid, text = request.cells, markdown(sections, about)
    if grid:
        text += "".join(_grid_table(grid, section) for section in sections)
    _write(plan.out / "table.md", text)
    _write(plan.out / "table.csv", raw(sections))
    curves = plots.curves(sections)
    cost = plots.cost(sections)
    (plan.out / "curves.png").write_bytes(curves)
    (plan.out / "cost.png").write_bytes(cost)
    images = [("Accuracy by round", curves), ("Accuracy by megabytes", cost)]
    if grid:
        heat = heat_map.draw(grid, sections)
        (plan.out / "grid.png").write_bytes(heat)
        images.insert(0, (f"What {grid.key} is worth", heat))
    _write(plan.out / "index.html", page.html(sections, about, images))
    return sections


def _grid_table(grid: Grid, section: Section) -> str:
    lines = [f"\n## {section.name}: {grid.key}\n", *grid.markdown(section)]
    return "\n".join(lines) + "\n"


def about_lines(plan: Plan, request: Request, sections: Sequence[Section]) -> list[str]:
    """What the numbers were made with, and how they are meant."""
    records = [r for s in sections for summary in s.summaries for r in summary.records]
    rates = ", ".join(f"{rate:g}" for rate in plan.rates)
    chosen = (
        f"Learning rate of each row from {rates}, by accuracy on the clients' held-out "
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
        f"Command: `{request.command()}`",
        f"Seeds {', '.join(map(str, plan.seeds))}: mean ± standard deviation.",
        chosen,
        "Accuracy on the test split. MB up and down: training messages of a round, "
        "all clients together. s server, s client: seconds of a round to aggregate, "
        "and to train on one client.",
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
