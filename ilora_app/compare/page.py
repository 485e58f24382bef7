"""index.html: tables that can be sorted and the plots, in one file by itself."""

import base64
from collections.abc import Sequence
from html import escape

from ilora_app.compare import differences
from ilora_app.compare.sections import Section
from ilora_app.compare.tables import failures, groups, heads, notes
from ilora_app.report import look


def html(
    sections: Sequence[Section],
    about: Sequence[str],
    images: Sequence[tuple[str, str]],
    title: str = "Comparison",
) -> str:
    """Make the page, with figures under their names; it loads nothing from anywhere.

    Args:
        sections: with their tables.
        about: how it was made.
        images: (name, SVG or what :func:`image` makes).
        title: of the page.

    """
    parts = [_section(section) for section in sections]
    parts += [
        f'<h2>{escape(name)}</h2><figure class="full" tabindex="0">{made}</figure>'
        for name, made in images
    ]
    parts.append("<h2>About</h2>" + "".join(map(look.prose, about)))
    return look.page(title, "\n".join(parts))


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.shown:
        bodies = [(name.replace(" ", "-"), rows) for name, rows in groups(section)]
        parts.append(look.table(heads(section), bodies))
    parts += [f"<p>{escape(note)}</p>" for note in notes(section)]
    columns, rows = differences.table(section)
    if rows:
        parts.append(
            f"<h3>Behind the best</h3><p>{escape(differences.about(section))}</p>"
        )
        parts.append(look.table(columns, [("differences", rows)]))
    if failures(section):
        items = "".join(
            f'<li><span class="bad">failed</span> {escape(run)}: {escape(reason)}</li>'
            for run, reason in failures(section)
        )
        parts.append(f'<ul class="failures">{items}</ul>')
    return "\n".join(parts)


def image(png: bytes, name: str) -> str:
    """A picture that has colours of its own; in the dark they are turned."""
    data = base64.b64encode(png).decode()
    image = (
        f'<img class="plot" src="data:image/png;base64,{data}" alt="{escape(name)}">'
    )
    return f'<div class="wide" tabindex="0">{image}</div>'
